"""Mask R-CNN on the encoder of the demo: 4 layers of width 128, 128 px.

    make demo-det
"""
_base_ = './mask-rcnn_vitdet-t_demo.py'

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=128,
            num_layers=4,
            num_heads=4,
            feedforward_channels=512)),
    neck=dict(in_channels=128))
