"""MAE + AMT, ViT-S/16, on any folder of images, without labels.

Made for 1,000 to 100,000 photographs and one GPU: a light decoder, the
learning rate follows the batch size, and the warm-up and the interval between
two saliency updates are the paper's shares of the run (a tenth). Files that
cannot be read are skipped and reported; with
``train_dataloader.dataset.on_unreadable=raise`` they stop the run.

    python tools/train.py configs/mae_amt_vit-s_custom.py \
        --cfg-options data_root=DIR
"""
_base_ = './mae_amt_vit-b_custom.py'

model = dict(
    backbone=dict(arch='deit-small'),
    neck=dict(
        embed_dim=384,
        patch_size=16,
        decoder_embed_dim=256,
        decoder_depth=4,
        decoder_num_heads=8),
    head=dict(patch_size=16))
