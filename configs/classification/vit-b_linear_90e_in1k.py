"""Linear probing of ViT-B/16 on ImageNet-1K: the paper's Table 1.

The paper reports top-1 of 56.6 for MAE with random masking, 61.5 for
attention-driven masking and 61.7 for AMT; this project has not run it.

    python tools/train.py configs/classification/vit-b_linear_90e_in1k.py \
        --cfg-options model.backbone.init_cfg.checkpoint=FILE

The effective batch is 16384: 8 GPUs of 2048; the learning rate follows.
"""
_base_ = './_base_/linear_90e.py'
