"""Linear probing of ViT-B/16 on CIFAR-10: the paper's Table 1.

The paper reports top-1 of 85.2 for MAE with random masking, 89.4 for
attention-driven masking and 88.1 for AMT; this project has not run it. The
images are resized to the 224 px of the pre-training, and normalised as there.

    python tools/train.py configs/classification/vit-b_linear_90e_cifar10.py \
        --cfg-options model.backbone.init_cfg.checkpoint=FILE

The paper names no batch and no rate; here 512 with the rate that ImageNet-1K
has at 16384, which comes to about as many steps.
"""
_base_ = './_base_/linear_90e.py'

data_root = 'data/cifar10'

data_preprocessor = dict(num_classes=10)
model = dict(head=dict(num_classes=10))

train_pipeline = _base_.rgb_to_bgr + _base_.train_pipeline[1:]
test_pipeline = _base_.rgb_to_bgr + _base_.test_pipeline[1:]
# all of the image, where ImageNet's is cropped
test_pipeline[2].update(scale=224)

# scaled down to this batch, LARS would hardly move the head in so few steps
auto_scale_lr = dict(base_batch_size=512)

train_dataloader = dict(
    batch_size=512,
    dataset=dict(
        type='CIFAR10',
        data_root=data_root,
        split='train',
        download=True,
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=512,
    dataset=dict(
        type='CIFAR10',
        data_root=data_root,
        split='test',
        download=True,
        pipeline=test_pipeline))
test_dataloader = val_dataloader
