"""Fine-tuning of the encoder of the demo: 4 layers of width 128, 64 px.

    make demo-cls
    python tools/train.py configs/classification/vit-mini_finetune_demo.py
"""
_base_ = ['./vit-t_finetune_demo.py', '../_base_/vit_mini.py']

data_preprocessor = _base_.pop('pixels')
model = dict(
    backbone=dict(arch=_base_.pop('vit_mini')),
    head=dict(in_channels=128))
