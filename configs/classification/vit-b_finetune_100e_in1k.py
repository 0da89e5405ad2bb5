"""Fine-tuning of ViT-B/16 on ImageNet-1K: the paper's Table 1.

The paper reports top-1 of 82.6 for MAE with random masking, 82.5 for
attention-driven masking and 82.8 for AMT, and 81.5, 81.5 and 80.7 for SimMIM
likewise; this project has not run it.

    python tools/train.py configs/classification/vit-b_finetune_100e_in1k.py \
        --cfg-options model.backbone.init_cfg.checkpoint=FILE

The effective batch is 1024: 8 GPUs of 128; the learning rate follows.
"""
_base_ = './_base_/finetune_100e.py'
