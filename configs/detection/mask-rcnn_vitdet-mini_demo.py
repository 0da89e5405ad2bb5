"""Mask R-CNN on the encoder of the demo: 4 layers of width 128, 128 px.

    make demo-det
"""
_base_ = ['./mask-rcnn_vitdet-t_demo.py', '../_base_/vit_mini.py']

model = dict(
    backbone=dict(arch=_base_.pop('vit_mini')),
    neck=dict(in_channels=128))
