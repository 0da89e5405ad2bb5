"""MAE + random throwing 45/40, ViT-B/16, 200 epochs: Table 4, row 3.

The paper reports (Table 4) 50.8 linear top-1 on Tiny ImageNet after
pre-training on ImageNet-1K; this project has not run it.

    python tools/train.py configs/mae_random-throw_vit-b_200e_in1k.py
"""
_base_ = './mae_amt_vit-b_200e_in1k.py'

train_pipeline = _base_.train_pipeline
train_pipeline[4].update(
    mask_ratio=0.45,
    throw_ratio=0.40,
    ordering=dict(type='amt_mm.RandomOrdering'))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# random plans need no saliency
custom_hooks = [
    dict(type='amt_mm.EpochSeedHook'),
    dict(type='amt_mm.NonFiniteHook'),
]
