"""Fine-tuning at the size of the demo: ViT-Ti, 64 px, a folder of classes.

    python tools/train.py configs/classification/vit-t_finetune_demo.py \
        --cfg-options data_root=DIR model.head.num_classes=NUMBER \
        model.backbone.init_cfg.checkpoint=FILE

``DIR`` holds ``train/CLASS/*`` and ``val/CLASS/*``; if it is ``test``, add
``val_dataloader.dataset.data_prefix=test``. Images are resized to 64 px. No
Mixup and CutMix, which want longer runs.
"""
_base_ = './_base_/finetune_100e.py'

data_root = 'work_dirs/demo/data'

model = dict(
    backbone=dict(arch='deit-tiny', img_size=64, patch_size=8),
    head=dict(num_classes=8, in_channels=192),
    train_cfg=None)

train_pipeline = _base_.train_pipeline
train_pipeline[1].update(scale=64)
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=64)
test_pipeline[2].update(crop_size=64)

train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    dataset=dict(
        _delete_=True,
        type='CustomDataset',
        data_root=data_root,
        data_prefix='train',
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    dataset=dict(
        _delete_=True,
        type='CustomDataset',
        data_root=data_root,
        data_prefix='val',
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1, ))
test_evaluator = val_evaluator

# a rate that 200 steps can do something with
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=32)

# they overlap, so that any number of epochs is a valid schedule
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=2)
param_scheduler[1].update(begin=0)
train_cfg = dict(max_epochs=10, val_interval=5)
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=1))
