"""MAE of ViT-S/8 at 64 px, for one GPU.

    python tools/study.py configs/study/tiny-imagenet40_gpu.yaml

The rate is the one for ViT-Ti; the plan tries others for the baseline first.
"""
_base_ = './mae_vit-t_64.py'

model = dict(
    backbone=dict(arch='deit-small'),
    neck=dict(
        embed_dim=384,
        decoder_embed_dim=256,
        decoder_depth=4,
        decoder_num_heads=8))

train_dataloader = dict(num_workers=8)

param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=20)
