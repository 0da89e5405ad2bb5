"""What the configs for one's own folder of images share.

A config takes it out by ``_base_.pop('folder')`` and changes what differs:
mmengine lets two bases have no key in common.
"""
folder = dict(
    train_dataloader=dict(
        batch_size=128,
        num_workers=4,
        dataset=dict(
            type='amt_mm.ImageFolder',
            data_root='data/custom',
            on_unreadable='skip')),
    # the two overlap, so that any number of epochs is a valid schedule
    param_scheduler=[
        dict(
            type='LinearLR',
            start_factor=1e-4,
            by_epoch=True,
            end=10,
            convert_to_iter_based=True),
        dict(
            type='CosineAnnealingLR',
            by_epoch=True,
            convert_to_iter_based=True)
    ],
    default_hooks=dict(
        logger=dict(interval=20),
        checkpoint=dict(interval=10),
        visualization=dict(interval=10)),
    custom_hooks=[
        dict(type='amt_mm.EpochSeedHook'),
        dict(type='amt_mm.SaliencyUpdateHook', interval=0.1),
        dict(type='amt_mm.MaskStatisticsHook'),
        dict(type='amt_mm.UnreadableImagesHook'),
        dict(type='amt_mm.NonFiniteHook'),
    ])
