"""MAE that masks where pixels vary most, ViT-B/16, 400 epochs, ImageNet-1K.

As ``mae_am_vit-b_400e_in1k.py``, but the saliency of a patch is the spread of
its pixels, known before the first epoch and without a model. Ahead of MAE at a
small scale on Tiny ImageNet, not on CIFAR-10 (docs/study.md); this project has
not run it at this scale.

    python tools/train.py configs/mae_detail-am_vit-b_400e_in1k.py
"""
_base_ = './mae_am_vit-b_400e_in1k.py'

custom_hooks = _base_.custom_hooks
custom_hooks[1] = dict(
    type='amt_mm.SaliencyUpdateHook',
    begin=0,
    source=dict(type='amt_mm.PixelSaliency', method='detail'))
