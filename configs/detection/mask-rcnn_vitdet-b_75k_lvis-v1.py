"""Mask R-CNN on a pre-trained ViT-B/16, 75k iterations of LVIS v1: Table 3.

Images are repeated by the rarity of their classes. The paper reports, with
ViTDet's recipe at a batch of 16, AP of boxes and of masks (AP, AP50, AP75);
this project has not run it:

    random init  14.6 24.7 15.3  14.3 23.2 15.0
    MAE          25.0 38.5 26.9  24.2 37.0 25.7
    MAE + AM     26.2 40.2 28.3  25.4 38.4 27.1
    MAE + AMT    26.9 41.3 28.8  26.0 39.4 27.7

    python tools/train.py configs/detection/mask-rcnn_vitdet-b_75k_lvis-v1.py \
        --cfg-options model.backbone.init_cfg.checkpoint=FILE

Needs the package lvis, which the extra ``det`` brings; ``amt_mm.LVISMetric``
lets its release 0.5.3 evaluate with the numpy of today.
"""
_base_ = './mask-rcnn_vitdet-b_90k_coco.py'

data_root = 'data/lvis_v1/'

model = dict(
    roi_head=dict(
        bbox_head=dict(num_classes=1203), mask_head=dict(num_classes=1203)),
    # LVIS allows 300 detections for an image
    test_cfg=dict(rcnn=dict(score_thr=0.02, max_per_img=300)))

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ClassBalancedDataset',
        oversample_thr=1e-3,
        dataset=dict(
            type='LVISV1Dataset',
            data_root=data_root,
            ann_file='annotations/lvis_v1_train.json',
            data_prefix=dict(img=''),
            filter_cfg=dict(filter_empty_gt=True, min_size=32),
            pipeline=_base_.train_pipeline)))
val_dataloader = dict(
    dataset=dict(
        type='LVISV1Dataset',
        data_root=data_root,
        ann_file='annotations/lvis_v1_val.json',
        data_prefix=dict(img='')))
test_dataloader = val_dataloader
val_evaluator = dict(
    type='amt_mm.LVISMetric',
    ann_file=data_root + 'annotations/lvis_v1_val.json')
test_evaluator = val_evaluator

max_iters = 75_000
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 3)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=max_iters, milestones=[66_667, 72_222])
