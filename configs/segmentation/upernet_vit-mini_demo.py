"""UperNet on the encoder of the demo: 4 layers of width 128, 128 px.

    make demo-seg
"""
_base_ = './upernet_vit-t_demo.py'

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=128,
            num_layers=4,
            num_heads=4,
            feedforward_channels=512),
        out_indices=(0, 1, 2, 3)),
    neck=dict(embed_dim=128),
    decode_head=dict(in_channels=[128] * 4),
    auxiliary_head=dict(in_channels=128))
