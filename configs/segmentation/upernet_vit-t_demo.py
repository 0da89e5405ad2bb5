"""UperNet on a small ViT at the size of the demo: minutes on two CPU cores.

    make demo-seg

or, on images in ``data_root/train`` with class indices of the same names in
``data_root/semantic/train``, and the same for ``val``:

    python tools/train.py configs/segmentation/upernet_vit-t_demo.py \
        --cfg-options data_root=DIR \
        model.backbone.init_cfg.checkpoint=work_dirs/demo/epoch_30.pth
"""
_base_ = './upernet_vit-b_160k_ade20k.py'

crop_size = (128, 128)
classes = ('background', 'brick_heart', 'checked_square', 'dotted_triangle',
           'grid_cross', 'rippled_star', 'spoked_ring', 'striped_disc',
           'zigzag_hexagon')
palette = [[0, 0, 0], [230, 25, 75], [60, 180, 75], [255, 225, 25],
           [0, 130, 200], [245, 130, 48], [145, 30, 180], [70, 240, 240],
           [240, 50, 230]]
norm_cfg = dict(type='BN', requires_grad=True)

model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        arch='deit-tiny', img_size=128, patch_size=8, drop_path_rate=0.),
    neck=dict(embed_dim=192, norm_cfg=norm_cfg),
    decode_head=dict(
        in_channels=[192] * 4,
        channels=64,
        num_classes=len(classes),
        norm_cfg=norm_cfg),
    auxiliary_head=dict(
        in_channels=192,
        channels=64,
        num_classes=len(classes),
        norm_cfg=norm_cfg),
    test_cfg=dict(_delete_=True, mode='whole'))

data_root = 'work_dirs/demo/data'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=crop_size, ratio_range=(1., 1.5),
         keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=crop_size, keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
dataset = dict(
    _delete_=True,
    type='BaseSegDataset',
    data_root=data_root,
    metainfo=dict(classes=classes, palette=palette))
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(
        data_prefix=dict(img_path='train', seg_map_path='semantic/train'),
        pipeline=train_pipeline,
        **dataset))
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        data_prefix=dict(img_path='val', seg_map_path='semantic/val'),
        pipeline=test_pipeline,
        **dataset))
test_dataloader = val_dataloader

# so few steps must move all layers, more so from random weights
optim_wrapper = dict(
    optimizer=dict(lr=1e-3), paramwise_cfg=dict(layer_decay_rate=1.))
train_cfg = dict(max_iters=150, val_interval=150)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=20),
    dict(type='PolyLR', power=1., begin=20, end=150, by_epoch=False)
]
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(interval=150, max_keep_ckpts=1),
    visualization=dict(draw=True, interval=20))
# named after the run: a second one in the same process draws in its own folder
visualizer = dict(
    _delete_=True,
    type='SegLocalVisualizer',
    vis_backends=[dict(type='LocalVisBackend')])
