"""SimMIM + AMT, ViT-S/16, on any folder of images, without labels.

Made for 1,000 to 100,000 photographs and one GPU, as mae_amt_vit-s_custom.py:
the learning rate follows the batch size, and the warm-up and the interval
between two saliency updates are the paper's shares of the run (a fifth).
Unlike SimMIM's one step, the rate falls along a cosine, which ends with the
run. Files that cannot be read are skipped and reported; with
``train_dataloader.dataset.on_unreadable=raise`` they stop the run.

    python tools/train.py configs/simmim_amt_vit-s_custom.py \
        --cfg-options data_root=DIR
"""
_base_ = './simmim_amt_vit-b_200e_in1k.py'

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

# 1e-4 for a batch of 512, as SimMIM has it
optim_wrapper = dict(optimizer=dict(lr=1e-4))
auto_scale_lr = dict(base_batch_size=512, enable=True)

# the two overlap, so that any number of epochs is a valid schedule
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=5e-7 / 1e-4,
        by_epoch=True,
        end=10,
        convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, convert_to_iter_based=True)
]

default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(interval=10),
    visualization=dict(interval=10))
custom_hooks = [
    dict(type='amt_mm.EpochSeedHook'),
    dict(type='amt_mm.SaliencyUpdateHook', interval=0.2),
    dict(type='amt_mm.MaskStatisticsHook'),
    dict(type='amt_mm.UnreadableImagesHook'),
    dict(type='amt_mm.NonFiniteHook'),
]
