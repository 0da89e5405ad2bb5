"""MAE + AMT, ViT-B/16, on any folder of images, without labels.

To go on from weights that exist, of any library: the decoder is MAE's, 512
wide and 8 deep, so that of a release fits too; of weights without one it is
new. ``custom_hooks.1.begin=0`` masks by the saliency of the given encoder from
the first epoch; else a tenth of the run is masked at random, as in MAE.

    python tools/train.py configs/mae_amt_vit-b_custom.py \
        --cfg-options data_root=DIR load_from=FILE

``model.backbone.arch`` alone makes it another size; the rest follows. The
learning rate follows the batch size, and the interval between two saliency
updates is the paper's share of the run (a tenth). Files that cannot be read
are skipped and reported; with ``train_dataloader.dataset.on_unreadable=raise``
they stop the run.
"""
_base_ = ['./mae_amt_vit-b_400e_in1k.py', './_base_/image_folder.py']

data_root = 'data/custom'

# where it is not said, it follows from the backbone
for part, key in (('neck', 'embed_dim'), ('neck', 'patch_size'),
                  ('head', 'patch_size')):
    _base_.model[part].pop(key)
del part, key

folder = _base_.pop('folder')
folder.train_dataloader.dataset.update(
    _delete_=True, pipeline=_base_.train_pipeline)
train_dataloader = folder.train_dataloader
param_scheduler = folder.param_scheduler
default_hooks = folder.default_hooks
custom_hooks = folder.custom_hooks
del folder

# 1.5e-4 for a batch of 256, as MAE has it
optim_wrapper = dict(optimizer=dict(lr=1.5e-4))
auto_scale_lr = dict(base_batch_size=256, enable=True)
train_cfg = dict(max_epochs=200)
