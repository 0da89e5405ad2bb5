"""MAE that masks where pixels vary most, ViT-S/16, on any folder of images.

Masks 75 % and throws nothing, at the cost of MAE: the saliency of a patch is
the spread of its pixels, known before the first epoch and without a model. Of
all that was tried at a small scale it is what is ahead of MAE at equal compute
on Tiny ImageNet; on CIFAR-10 it is not (docs/study.md).

    python tools/train.py configs/mae_detail-am_vit-s_custom.py \
        --cfg-options data_root=DIR
"""
_base_ = './mae_amt_vit-s_custom.py'

train_pipeline = _base_.train_pipeline
train_pipeline[4].update(mask_ratio=0.75, throw_ratio=0.)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

custom_hooks = _base_.custom_hooks
custom_hooks[1] = dict(
    type='amt_mm.SaliencyUpdateHook',
    begin=0,
    source=dict(type='amt_mm.PixelSaliency', method='detail'))
