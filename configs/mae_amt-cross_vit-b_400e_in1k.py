"""MAE + AMT, ViT-B/16, cross-attention decoder, half of the masked predicted.

CrossMAE's decoder, 8 layers deep as MAE's; the rate is scaled by the share
that is predicted. Not in the paper; this project has not run it.

    python tools/train.py configs/mae_amt-cross_vit-b_400e_in1k.py
"""
_base_ = './mae_amt_vit-b_400e_in1k.py'

model = dict(neck=dict(type='amt_mm.AMTCrossDecoder'))
train_pipeline = _base_.train_pipeline
train_pipeline[4].update(predict_ratio=0.5)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=1.5e-4 * 4096 / 256 * 0.5))
