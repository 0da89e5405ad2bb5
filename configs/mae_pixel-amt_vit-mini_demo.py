"""MAE + AMT in three minutes on two CPU cores: what `make demo` trains.

    make demo
    make demo DATA=DIR

A ViT of 4 layers of width 128 for 64 pixels. The saliency is made of the
pixels alone, before the first epoch: it finds single objects in minutes, where
the attention of the class token, the paper's choice, takes long runs of large
models. Flatter draws, and a third of the patches visible, leave something of
the objects to go on from.
"""
_base_ = ['./mae_amt_vit-t_30e_demo.py', './_base_/vit_mini.py']

data_preprocessor = _base_.pop('pixels')
model = dict(
    backbone=dict(arch=_base_.pop('vit_mini')),
    neck=dict(embed_dim=128, decoder_depth=4))

train_pipeline = _base_.train_pipeline
train_pipeline[4].update(
    mask_ratio=0.40,
    throw_ratio=0.25,
    ordering=dict(type='amt_mm.AttentionOrdering', temperature=2.5))
train_dataloader = dict(
    batch_size=32, dataset=dict(pipeline=train_pipeline))

optim_wrapper = dict(optimizer=dict(lr=1.2e-2))
train_cfg = dict(max_epochs=38)
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=5)
default_hooks = dict(checkpoint=dict(interval=38))

custom_hooks = _base_.custom_hooks
custom_hooks[1] = dict(
    type='amt_mm.SaliencyUpdateHook',
    begin=0,
    source=dict(type='amt_mm.PixelSaliency'))
