"""Fine-tuning as MAE does it: mmpretrain's recipe, 100 epochs.

AdamW with layer-wise decay, RandAugment, Mixup, CutMix, the mean of the patch
tokens. MAE and SimMIM checkpoints load alike. The paper follows MAE's recipe
but names the class token, for which set ``model.backbone.out_type=cls_token
model.backbone.final_norm=True``. For another ViT set
``model.backbone.arch=deit-small model.head.in_channels=384``.
"""
_base_ = ('mmpretrain::mae/benchmarks/'
          'vit-base-p16_8xb128-coslr-100e_in1k.py')

data_root = 'data/imagenet'

model = dict(
    backbone=dict(
        init_cfg=dict(
            _delete_=True,
            type='Pretrained',
            _scope_='amt_mm',
            checkpoint='')))

auto_scale_lr = dict(base_batch_size=1024, enable=True)

# the cosine ends with the run, however long, and at a share of each layer's
# rate: 1e-6 is above that of the first layers in a small batch
param_scheduler = _base_.param_scheduler
for key in ('T_max', 'end', 'eta_min'):
    param_scheduler[1].pop(key)
param_scheduler[1].update(eta_min_ratio=5e-4)
del key

default_hooks = dict(checkpoint=dict(type='amt_mm.AtomicCheckpointHook'))

# arrays of CIFAR and STL-10 are RGB; images from files, BGR
rgb_to_bgr = [dict(type='NumpyToPIL'), dict(type='PILToNumpy', to_bgr=True)]
