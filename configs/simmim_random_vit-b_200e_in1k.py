"""SimMIM with random masking, ViT-B/16, 200 epochs of ImageNet-1K: baseline.

Masks 60 % and throws nothing; looks at no saliency. The paper reports 81.5
fine-tune top-1 on ImageNet-1K (Table 1) and 74.0 on Tiny ImageNet (Table 2);
this project has not run it.

    python tools/train.py configs/simmim_random_vit-b_200e_in1k.py
"""
_base_ = './simmim_am_vit-b_200e_in1k.py'

train_pipeline = _base_.train_pipeline
train_pipeline[4].update(ordering=dict(type='amt_mm.RandomOrdering'))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

custom_hooks = [
    dict(type='amt_mm.EpochSeedHook'),
    dict(type='amt_mm.NonFiniteHook'),
]
