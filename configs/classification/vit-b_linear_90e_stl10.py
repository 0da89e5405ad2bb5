"""Linear probing of ViT-B/16 on STL-10: the paper's Table 1.

The paper reports top-1 of 80.9 for MAE with random masking, 87.1 for
attention-driven masking and 86.8 for AMT; this project has not run it. The
images are resized to the 224 px of the pre-training, and normalised as there.

    python tools/train.py configs/classification/vit-b_linear_90e_stl10.py \
        --cfg-options model.backbone.init_cfg.checkpoint=FILE
"""
_base_ = './vit-b_linear_90e_cifar10.py'

data_root = 'data/stl10'

train_dataloader = dict(dataset=dict(type='amt_mm.STL10', data_root=data_root))
val_dataloader = dict(dataset=dict(type='amt_mm.STL10', data_root=data_root))
test_dataloader = val_dataloader
