"""UperNet on the features of a pre-trained ViT-B/16, ADE20K at 512x512.

160,000 iterations of batch 16, layer-wise decay 0.65, as in MAE and in mmseg's
own config of it, from which all else is inherited. The backbone is
mmpretrain's plain ViT, so any checkpoint of pre-training loads as it is. Not
in the paper; this project has not run it.

    python tools/train.py configs/segmentation/upernet_vit-b_160k_ade20k.py \
        --cfg-options model.backbone.init_cfg.checkpoint=FILE

The effective batch is 16: 8 GPUs of 2, or --auto-scale-lr for another.
"""
_base_ = 'mmseg::mae/mae-base_upernet_8xb2-amp-160k_ade20k-512x512.py'

model = dict(
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='mmpretrain.VisionTransformer',
        arch='base',
        img_size=512,
        patch_size=16,
        out_type='featmap',
        out_indices=[3, 5, 7, 11],
        final_norm=False,
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', _scope_='amt_mm', checkpoint='')))

optim_wrapper = dict(
    type='AmpOptimWrapper',
    loss_scale='dynamic',
    constructor='amt_mm.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(
        _delete_=True,
        layer_decay_rate=0.65,
        norm_decay_mult=0.,
        bias_decay_mult=0.,
        flat_decay_mult=0.,
        custom_keys={
            '.cls_token': dict(decay_mult=0.),
            '.pos_embed': dict(decay_mult=0.)
        }))

default_hooks = dict(
    checkpoint=dict(type='amt_mm.AtomicCheckpointHook', max_keep_ckpts=2))
custom_hooks = [dict(type='amt_mm.LabelCheckHook')]
auto_scale_lr = dict(base_batch_size=16)
