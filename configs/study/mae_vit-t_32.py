"""MAE of ViT-Ti/4 at 32 px, the size of CIFAR-10.

    python tools/study.py configs/study/cifar10_cpu.yaml
"""
_base_ = './mae_vit-t_64.py'

model = dict(
    backbone=dict(img_size=32, patch_size=4),
    neck=dict(patch_size=4),
    head=dict(patch_size=4))

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=32)
train_pipeline[4].update(input_size=32, patch_size=4)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
