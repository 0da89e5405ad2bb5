"""MAE + AMT, ViT-L/16, on any folder of images, without labels.

As mae_amt_vit-b_custom.py, to go on from weights that exist.

    python tools/train.py configs/mae_amt_vit-l_custom.py \
        --cfg-options data_root=DIR load_from=FILE
"""
_base_ = './mae_amt_vit-b_custom.py'

model = dict(backbone=dict(arch='l'))
