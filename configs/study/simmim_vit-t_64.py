"""SimMIM of ViT-Ti/8 at 64 px: cells of 16 px, 16 in an image.

    python tools/study.py configs/study/tiny-imagenet40_simmim.yaml

All tokens but the thrown run through the encoder, so that a step costs three
times that of MAE. Data, batch, schedule and hooks are those of the study's
MAE; masks and loss are SimMIM's.
"""
_base_ = './mae_vit-t_64.py'

model = dict(
    _delete_=True,
    type='amt_mm.AMTSimMIM',
    backbone=dict(
        type='amt_mm.AMTSimMIMViT', arch='deit-tiny', img_size=64,
        patch_size=8),
    neck=dict(
        type='amt_mm.AMTSimMIMLinearDecoder',
        in_channels=192,
        encoder_stride=8),
    head=dict(
        type='amt_mm.AMTSimMIMHead',
        patch_size=8,
        loss=dict(type='PixelReconstructionLoss', criterion='L1', channel=3)))

train_pipeline = _base_.train_pipeline
train_pipeline[4].update(
    cell_size=16,
    rounding='ceil',
    mask_ratio=0.44,
    throw_ratio=0.26,
    warmup_mask_ratio=0.60)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

optim_wrapper = dict(optimizer=dict(lr=8e-4))
