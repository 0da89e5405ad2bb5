"""MaskFeat + AMT, ViT-S/16, on any folder of images, without labels.

Made for 1,000 to 100,000 photographs and one GPU, as mae_amt_vit-s_custom.py:
the learning rate follows the batch size, and the warm-up and the interval
between two saliency updates are a tenth of the run, as are the paper's of MAE.
Files that cannot be read are skipped and reported; with
``train_dataloader.dataset.on_unreadable=raise`` they stop the run.

    python tools/train.py configs/maskfeat_amt_vit-s_custom.py \
        --cfg-options data_root=DIR
"""
_base_ = ['./maskfeat_amt_vit-b_300e_in1k.py', './_base_/image_folder.py']

data_root = 'data/custom'

model = dict(backbone=dict(arch='deit-small'), neck=dict(in_channels=384))

folder = _base_.pop('folder')
folder.train_dataloader.dataset.update(
    _delete_=True, pipeline=_base_.train_pipeline)
train_dataloader = folder.train_dataloader
param_scheduler = folder.param_scheduler
param_scheduler[0].update(start_factor=1e-6, end=20)
param_scheduler[1].update(eta_min=1e-6)
default_hooks = folder.default_hooks
custom_hooks = folder.custom_hooks
del folder

# 2e-4 for a batch of 256, as MaskFeat has it
optim_wrapper = dict(optimizer=dict(lr=2e-4))
auto_scale_lr = dict(base_batch_size=256, enable=True)
train_cfg = dict(max_epochs=200)
