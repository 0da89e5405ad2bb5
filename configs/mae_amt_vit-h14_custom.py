"""MAE + AMT, ViT-H/14, on any folder of images, without labels.

As mae_amt_vit-b_custom.py, to go on from weights that exist.

    python tools/train.py configs/mae_amt_vit-h14_custom.py \
        --cfg-options data_root=DIR load_from=FILE
"""
_base_ = './mae_amt_vit-b_custom.py'

model = dict(backbone=dict(arch='h', patch_size=14))

train_pipeline = _base_.train_pipeline
train_pipeline[4].update(patch_size=14)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
