"""UperNet on the encoder of the demo: 4 layers of width 128, 128 px.

    make demo-seg
"""
_base_ = ['./upernet_vit-t_demo.py', '../_base_/vit_mini.py']

model = dict(
    backbone=dict(
        arch=_base_.pop('vit_mini'),
        out_indices=(0, 1, 2, 3)),
    neck=dict(embed_dim=128),
    decode_head=dict(in_channels=[128] * 4),
    auxiliary_head=dict(in_channels=128))
