"""MAE + AMT, ViT-S/16, on images of any number of channels and any levels.

For TIFF files and NumPy arrays of 8, 16 or 32 bits, such as satellite tiles.
``tools/dataset_stats.py DIR`` looks at them and prints the three lines to
change: the channels, which levels become 0 and 1, and mean and spread.

    python tools/train.py configs/mae_amt_vit-s_bands.py \
        --cfg-options data_root=DIR model.backbone.patch_cfg.in_channels=13 \
        train_dataloader.dataset.pipeline.1.value_range=0,4095

Everything else that depends on the channels follows from the backbone's.
"""
_base_ = './mae_amt_vit-b_custom.py'

_base_.model.neck.pop('in_chans')  # it follows from the backbone

model = dict(
    backbone=dict(arch='deit-small', patch_cfg=dict(in_channels=13)),
    neck=dict(decoder_embed_dim=256, decoder_depth=4, decoder_num_heads=8))
data_preprocessor = dict(
    _delete_=True,
    type='amt_mm.AMTDataPreprocessor',
    mean=[0.5],
    std=[0.25],
    bands=(3, 2, 1))  # red, green, blue of Sentinel-2

train_pipeline = _base_.train_pipeline
train_pipeline[1] = dict(type='amt_mm.LoadArray', value_range=(0., 10000.))
train_dataloader = dict(
    dataset=dict(
        pipeline=train_pipeline, extensions=('.tif', '.tiff', '.npy')))
