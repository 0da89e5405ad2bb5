"""MAE + AMT, ViT-B/16, cross-attention decoder, half of the masked predicted.

The decoder is that of CrossMAE, 8 layers deep as MAE's. Predicting a share
makes the loss vary more, so the rate is scaled by it. Not in the paper; this
project has not run it.

    python tools/train.py configs/mae_amt-cross_vit-b_400e_in1k.py
"""
_base_ = './mae_amt_vit-b_400e_in1k.py'

model = dict(neck=dict(type='amt_mm.AMTCrossDecoder'))
train_pipeline = _base_.train_pipeline
train_pipeline[4].update(predict_ratio=0.5)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=1.5e-4 * 4096 / 256 * 0.5))
