"""Mask R-CNN on the encoder of the demo: ViT-Ti/8, 128 px, generated images.

    make demo-det

The demo pre-trains with patches of 8 px, so every stride is half of the usual
one. Pictures in ``vis_data/vis_image`` of the work dir show ground truth on
the left and what was found on the right.
"""
_base_ = './mask-rcnn_vitdet-t_custom.py'

classes = ('brick_heart', 'checked_square', 'dotted_triangle', 'grid_cross',
           'rippled_star', 'spoked_ring', 'striped_disc', 'zigzag_hexagon')
data_root = 'work_dirs/demo/data'
train_ann = 'annotations/instances_train.json'
val_ann = 'annotations/instances_val.json'

model = dict(
    data_preprocessor=dict(pad_size_divisor=128),
    backbone=dict(img_size=128, patch_size=8),
    rpn_head=dict(anchor_generator=dict(strides=[2, 4, 8, 16, 32])),
    roi_head=dict(
        bbox_roi_extractor=dict(
            featmap_strides=[2, 4, 8, 16], finest_scale=28),
        bbox_head=dict(num_classes=len(classes)),
        mask_roi_extractor=dict(
            featmap_strides=[2, 4, 8, 16], finest_scale=28),
        mask_head=dict(num_classes=len(classes))),
    train_cfg=dict(rcnn=dict(sampler=dict(num=64))),
    test_cfg=dict(rcnn=dict(score_thr=0.01)))

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=(128, 128))
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=(128, 128))

train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        data_root=data_root,
        ann_file=train_ann,
        data_prefix=dict(img=''),
        metainfo=dict(classes=classes),
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file=val_ann,
        indices=50,
        data_prefix=dict(img=''),
        metainfo=dict(classes=classes),
        pipeline=test_pipeline))
test_dataloader = val_dataloader

# so few steps must move all layers, more so from random weights
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=1.))

default_hooks = dict(
    visualization=dict(draw=True, interval=5, score_thr=0.5))
# named after the run: a second one in the same process draws in its own folder
visualizer = dict(
    _delete_=True,
    type='DetLocalVisualizer',
    vis_backends=[dict(type='LocalVisBackend')])
