"""Linear probing as MAE does it: mmpretrain's recipe, 90 epochs.

Batch norm without affine parameters and a linear layer on the class token of
the frozen encoder; LARS. MAE and SimMIM checkpoints load alike. For another
ViT set ``model.backbone.arch=deit-small model.neck.input_features=384
model.head.in_channels=384``; ``model.backbone.frozen_stages`` is the number
of layers, 24 for ``large``.
"""
_base_ = ('mmpretrain::mae/benchmarks/'
          'vit-base-p16_8xb2048-linear-coslr-90e_in1k.py')

data_root = 'data/imagenet'

model = dict(
    backbone=dict(
        init_cfg=dict(
            _delete_=True,
            type='Pretrained',
            _scope_='amt_mm',
            checkpoint='')))

# the rate is 0 below the head: layers left out of frozen_stages do not move
optim_wrapper = dict(
    constructor='LearningRateDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.))
auto_scale_lr = dict(base_batch_size=16384, enable=True)

# the cosine ends with the run, however long
param_scheduler = _base_.param_scheduler
param_scheduler[1].pop('T_max')
param_scheduler[1].pop('end')

default_hooks = dict(checkpoint=dict(type='amt_mm.AtomicCheckpointHook'))

# arrays of CIFAR and STL-10 are RGB; images from files, BGR
rgb_to_bgr = [dict(type='NumpyToPIL'), dict(type='PILToNumpy', to_bgr=True)]
