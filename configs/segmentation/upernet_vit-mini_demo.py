"""UperNet on the encoder of the demo: 4 layers of width 128, 128 px.

    make demo-seg

The finest map has a stride of 4 pixels, in place of 2, which takes a quarter
of the time.
"""
_base_ = ['./upernet_vit-t_demo.py', '../_base_/vit_mini.py']

model = dict(
    data_preprocessor=_base_.pop('pixels'),
    backbone=dict(
        arch=_base_.pop('vit_mini'),
        out_indices=(0, 1, 2, 3)),
    neck=dict(embed_dim=128, rescales=[2, 1, 0.5, 0.25]),
    decode_head=dict(in_channels=[128] * 4),
    auxiliary_head=dict(in_channels=128))

max_iters = 120
# weights of pre-training are large: a lower rate hardly moves them
optim_wrapper = dict(optimizer=dict(lr=2e-3))
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=max_iters)
default_hooks = dict(checkpoint=dict(interval=max_iters))
