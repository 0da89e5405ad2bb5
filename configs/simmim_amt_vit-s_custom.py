"""SimMIM + AMT, ViT-S/16, on any folder of images, without labels.

Made for 1,000 to 100,000 photographs and one GPU, as mae_amt_vit-s_custom.py:
the learning rate follows the batch size, and the warm-up and the interval
between two saliency updates are the paper's shares of the run (a fifth).
Unlike SimMIM's one step, the rate falls along a cosine, which ends with the
run. Files that cannot be read are skipped and reported; with
``train_dataloader.dataset.on_unreadable=raise`` they stop the run.

    python tools/train.py configs/simmim_amt_vit-s_custom.py \
        --cfg-options data_root=DIR
"""
_base_ = ['./simmim_amt_vit-b_200e_in1k.py', './_base_/image_folder.py']

data_root = 'data/custom'

model = dict(backbone=dict(arch='deit-small'), neck=dict(in_channels=384))

folder = _base_.pop('folder')
folder.train_dataloader.dataset.update(
    _delete_=True, pipeline=_base_.train_pipeline)
train_dataloader = folder.train_dataloader
param_scheduler = folder.param_scheduler
param_scheduler[0].update(start_factor=5e-7 / 1e-4)
default_hooks = folder.default_hooks
custom_hooks = folder.custom_hooks
custom_hooks[1].update(interval=0.2)
del folder

# 1e-4 for a batch of 512, as SimMIM has it
optim_wrapper = dict(optimizer=dict(lr=1e-4))
auto_scale_lr = dict(base_batch_size=512, enable=True)
