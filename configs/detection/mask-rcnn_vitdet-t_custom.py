"""Mask R-CNN on ViT-Ti/16 at 256 px: tens of photographs, one CPU core.

For a small set of your own in COCO's format. As written it is for 14 photos
of three classes, which it learns by heart: from random weights, masks reach
AP50 0.59 on these same photos, in seven minutes of one core. Copy the file and
change ``classes``, ``data_root`` and the two annotation files. Heads of 64
channels in place of 256, one size in place of jittering. The evaluation takes
its ground truth from the data set; areas are those of the boxes.

    python tools/train.py configs/detection/mask-rcnn_vitdet-t_custom.py \
        --cfg-options model.backbone.init_cfg.checkpoint=FILE

From random weights: ``model.backbone.init_cfg=None
optim_wrapper.paramwise_cfg.layer_decay_rate=1.0``.
"""
_base_ = './mask-rcnn_vitdet-b_90k_coco.py'

classes = ('date', 'fig', 'hazelnut')
data_root = 'data/nuts18/'
train_ann = 'instances_train.json'
val_ann = 'instances_val.json'
size, width = 256, 64

model = dict(
    data_preprocessor=dict(pad_size_divisor=size),
    backbone=dict(
        arch='deit-tiny', img_size=size, window_size=8, drop_path_rate=0.),
    neck=dict(in_channels=192, out_channels=width),
    rpn_head=dict(in_channels=width, feat_channels=width),
    roi_head=dict(
        bbox_roi_extractor=dict(
            roi_layer=dict(sampling_ratio=2), out_channels=width),
        bbox_head=dict(
            in_channels=width,
            conv_out_channels=width,
            fc_out_channels=256,
            num_classes=len(classes)),
        mask_roi_extractor=dict(
            roi_layer=dict(sampling_ratio=2), out_channels=width),
        mask_head=dict(
            num_convs=2,
            in_channels=width,
            conv_out_channels=width,
            num_classes=len(classes))),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=200),
        rcnn=dict(sampler=dict(num=128))),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=200)))

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(size, size), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=(size, size))
test_pipeline[3].update(meta_keys=('img_id', 'img_path', 'ori_shape',
                                   'img_shape', 'scale_factor', 'instances'))

train_dataloader = dict(
    batch_size=2,
    num_workers=1,
    dataset=dict(
        data_root=data_root,
        ann_file=train_ann,
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=classes),
        pipeline=train_pipeline))
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        data_root=data_root,
        ann_file=val_ann,
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=classes),
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=None)
test_evaluator = val_evaluator

max_iters = 300
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=20)
param_scheduler[1].update(end=max_iters, milestones=[240, 280])
optim_wrapper = dict(
    type='OptimWrapper',
    clip_grad=dict(max_norm=10),
    optimizer=dict(lr=1e-3, weight_decay=0.05))

default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=max_iters, max_keep_ckpts=1))
