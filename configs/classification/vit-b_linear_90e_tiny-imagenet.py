"""Linear probing of ViT-B/16 on Tiny ImageNet: the paper's Tables 1 and 4.

The paper reports (Table 1) top-1 of 55.2 for MAE with random masking, 59.9 for
attention-driven masking and 59.6 for AMT; this project has not run it. The
images are resized to the 224 px of the pre-training.

    python tools/train.py \
        configs/classification/vit-b_linear_90e_tiny-imagenet.py \
        --cfg-options model.backbone.init_cfg.checkpoint=FILE

The paper names no batch and no rate; here 512 with the rate that ImageNet-1K
has at 16384.
"""
_base_ = './_base_/linear_90e.py'

data_root = 'data/tiny-imagenet'

data_preprocessor = dict(num_classes=200)
model = dict(head=dict(num_classes=200))

test_pipeline = _base_.test_pipeline
# all of the image, where ImageNet's is cropped
test_pipeline[1].update(scale=224)

# scaled down to this batch, LARS would hardly move the head in so few steps
auto_scale_lr = dict(base_batch_size=512)

train_dataloader = dict(
    batch_size=512,
    dataset=dict(
        type='amt_mm.TinyImageNet', data_root=data_root, download=True))
val_dataloader = dict(
    batch_size=512,
    dataset=dict(
        type='amt_mm.TinyImageNet',
        data_root=data_root,
        download=True,
        pipeline=test_pipeline))
test_dataloader = val_dataloader
