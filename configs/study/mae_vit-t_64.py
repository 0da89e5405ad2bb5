"""MAE of ViT-Ti/8 at 64 px, small enough for many runs on two CPU cores.

    python tools/study.py configs/study/tiny-imagenet40_cpu.yaml

The images stay decoded in the workers. One batch of 128, AdamW and cosine as
MAE has them; the rate was chosen for random masking, see docs/study.md.
"""
_base_ = '../mae_amt_vit-t_30e_demo.py'

data_root = 'data/tiny_imagenet40/train'

model = dict(
    neck=dict(decoder_embed_dim=128, decoder_depth=2, decoder_num_heads=4))

train_pipeline = _base_.train_pipeline
train_pipeline[1].update(keep_all=True)
# as in all runs so far
train_pipeline[2].update(backend='pillow')
train_dataloader = dict(
    batch_size=128,
    num_workers=2,
    dataset=dict(data_root=data_root, pipeline=train_pipeline))

optim_wrapper = dict(optimizer=dict(lr=6e-4))
# the rate is that of the plan, whatever the batch
auto_scale_lr = dict(enable=False)
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=2)

custom_hooks = _base_.custom_hooks
# one update costs as much as two epochs of a run of 20
custom_hooks[1].update(begin=0.2, interval=0.4)
default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(interval=1, max_keep_ckpts=1))
