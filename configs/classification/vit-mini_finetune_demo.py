"""Fine-tuning of the encoder of the demo: 4 layers of width 128, 64 px.

    make demo-cls
    python tools/train.py configs/classification/vit-mini_finetune_demo.py
"""
_base_ = './vit-t_finetune_demo.py'

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=128,
            num_layers=4,
            num_heads=4,
            feedforward_channels=512)),
    head=dict(in_channels=128))
