"""MaskFeat + AMT, ViT-S/16, on any folder of images, without labels.

Made for 1,000 to 100,000 photographs and one GPU, as mae_amt_vit-s_custom.py:
the learning rate follows the batch size, and the warm-up and the interval
between two saliency updates are a tenth of the run, as are the paper's of MAE.
Files that cannot be read are skipped and reported; with
``train_dataloader.dataset.on_unreadable=raise`` they stop the run.

    python tools/train.py configs/maskfeat_amt_vit-s_custom.py \
        --cfg-options data_root=DIR
"""
_base_ = './maskfeat_amt_vit-b_300e_in1k.py'

data_root = 'data/custom'

model = dict(backbone=dict(arch='deit-small'), neck=dict(in_channels=384))

train_dataloader = dict(
    batch_size=128,
    num_workers=4,
    dataset=dict(
        _delete_=True,
        type='amt_mm.ImageFolder',
        data_root=data_root,
        on_unreadable='skip',
        pipeline=_base_.train_pipeline))

# 2e-4 for a batch of 256, as MaskFeat has it
optim_wrapper = dict(optimizer=dict(lr=2e-4))
auto_scale_lr = dict(base_batch_size=256, enable=True)

train_cfg = dict(max_epochs=200)
# the two overlap, so that any number of epochs is a valid schedule
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6,
        by_epoch=True,
        end=20,
        convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        by_epoch=True,
        convert_to_iter_based=True)
]

default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(interval=10),
    visualization=dict(interval=10))
custom_hooks = [
    dict(type='amt_mm.EpochSeedHook'),
    dict(type='amt_mm.SaliencyUpdateHook', interval=0.1),
    dict(type='amt_mm.MaskStatisticsHook'),
    dict(type='amt_mm.UnreadableImagesHook'),
    dict(type='amt_mm.NonFiniteHook'),
]
