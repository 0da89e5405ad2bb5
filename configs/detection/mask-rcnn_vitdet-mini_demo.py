"""Mask R-CNN on the encoder of the demo: 4 layers of width 128, 64 px.

    make demo-det

Images have the size of pre-training, and few regions of each are looked at:
an image holds one to three objects. Batch norm learns in far fewer steps here
than layer norm: docs/measured.md.
"""
_base_ = ['./mask-rcnn_vitdet-t_demo.py', '../_base_/vit_mini.py']

size, max_iters = 64, 150
norm_cfg = dict(type='BN')
one_sample = dict(roi_layer=dict(sampling_ratio=1))
model = dict(
    data_preprocessor=dict(pad_size_divisor=size, **_base_.pop('pixels')),
    backbone=dict(arch=_base_.pop('vit_mini'), img_size=size),
    neck=dict(in_channels=128, norm_cfg=norm_cfg),
    roi_head=dict(
        bbox_roi_extractor=one_sample,
        bbox_head=dict(norm_cfg=norm_cfg),
        mask_roi_extractor=one_sample,
        mask_head=dict(norm_cfg=norm_cfg)),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(sampler=dict(num=16))),
    # one name for each object, which the picture shows
    test_cfg=dict(
        rpn=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(nms=dict(class_agnostic=True))))

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=(size, size))
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=(size, size))

train_dataloader = dict(
    batch_size=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=max_iters, milestones=[120, 140])
default_hooks = dict(
    checkpoint=dict(interval=max_iters), visualization=dict(score_thr=0.4))
