"""Linear probing of the encoder of the demo: 4 layers of width 128, 64 px.

    make demo-cls
    python tools/train.py configs/classification/vit-mini_linear_demo.py
"""
_base_ = ['./vit-t_linear_demo.py', '../_base_/vit_mini.py']

data_preprocessor = _base_.pop('pixels')
model = dict(
    backbone=dict(
        arch=_base_.pop('vit_mini'),
        frozen_stages=4),
    neck=dict(input_features=128),
    head=dict(in_channels=128))
