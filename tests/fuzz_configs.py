"""Valid configs of tiny runs, and random changes of one key in them."""
from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmpretrain.models import VisionTransformer
from PIL import Image

NUM_IMAGES = 10
BATCH_SIZE = 4
EPOCHS = 2


def write_files(root: Path) -> None:
    """Write the images of two classes, their maps and a teacher."""
    rng = np.random.default_rng(0)
    for i in range(NUM_IMAGES):
        for top, channels in (('images', 3), ('maps', 1)):
            folder = root / top / f'class_{i % 2}'
            folder.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (40, 48, channels), dtype=np.uint8)
            Image.fromarray(pixels.squeeze()).save(folder / f'{i}.png')
    vit = VisionTransformer(arch=arch(), img_size=32, patch_size=8)
    torch.save(vit.state_dict(), root / 'teacher.pth')


# ---- the parts; every argument that a user may set is spelled out


def arch(**changes: Any) -> dict:
    return {
        **dict(embed_dims=16, num_layers=2, num_heads=2,
               feedforward_channels=32), **changes
    }


def vit(kind: str, **changes: Any) -> dict:
    return {
        **dict(
            type=f'amt_mm.{kind}', arch=arch(), img_size=32, patch_size=8,
            out_indices=-1, drop_rate=0., drop_path_rate=0.1,
            norm_cfg=dict(type='LN', eps=1e-6), final_norm=True,
            out_type='raw', interpolate_mode='bicubic', patch_cfg={},
            layer_cfgs={}, init_cfg=None), **changes
    }


def loss(criterion: str, channel: int | None) -> dict:
    return dict(type='mmpretrain.PixelReconstructionLoss',
                criterion=criterion, channel=channel)


def model(kind: str, **parts: Any) -> dict:
    return dict(type=f'amt_mm.{kind}', head_reduction='mean_then_scale',
                pretrained=None, init_cfg=None, **parts)


def mae_model() -> dict:
    return model(
        'AMTMAE', backbone=vit('AMTMAEViT', mask_ratio=0.75),
        neck=dict(
            type='amt_mm.AMTMAEPretrainDecoder', num_patches=16, patch_size=8,
            in_chans=3, embed_dim=16, decoder_embed_dim=16, decoder_depth=1,
            decoder_num_heads=2, mlp_ratio=2, predict_feature_dim=None,
            norm_cfg=dict(type='LN', eps=1e-6)),
        head=dict(
            type='amt_mm.AMTMAEPretrainHead', norm_pix=True, patch_size=8,
            in_channels=3, loss=loss('L2', None)))


def simmim_model(backbone: dict) -> dict:
    return model(
        'AMTSimMIM', backbone=backbone,
        neck=dict(type='amt_mm.AMTSimMIMLinearDecoder', in_channels=16,
                  encoder_stride=8),
        head=dict(type='amt_mm.AMTSimMIMHead', patch_size=8,
                  loss=loss('L1', 3)))


def maskfeat_model() -> dict:
    return model(
        'AMTMaskFeat', backbone=vit('AMTMaskFeatViT'),
        neck=dict(type='mmpretrain.LinearNeck', in_channels=16,
                  out_channels=108, gap_dim=0, norm_cfg=None, act_cfg=None),
        head=dict(type='mmpretrain.MIMHead', loss=loss('L2', None)),
        target_generator=dict(type='amt_mm.AMTHOGGenerator', patch_size=8,
                              nbins=9, pool=4, gaussian_window=16))


def pipeline(size: int, **mask: Any) -> list:
    return [
        dict(type='amt_mm.SeedSample'),
        dict(type='amt_mm.LoadImage', to_float32=False, color_type='color',
             imdecode_backend='cv2', ignore_empty=False, backend_args=None),
        dict(type='amt_mm.RandomResizedCropWithBox', scale=size,
             crop_ratio_range=(0.5, 1.), aspect_ratio_range=(0.75, 1.33),
             max_attempts=10, interpolation='bicubic', backend='cv2'),
        dict(type='mmcv.RandomFlip', prob=0.5, direction='horizontal'),
        dict(
            type='amt_mm.AMTMaskGenerator', **{
                **dict(input_size=size, patch_size=8, cell_size=None,
                       mask_ratio=0.45, throw_ratio=0.3,
                       warmup_mask_ratio=0.7, warmup_throw_ratio=0.1,
                       rounding='floor'), **mask
            }),
        dict(type='mmpretrain.PackInputs', input_key='img',
             algorithm_keys=('mask_plan', 'saliency'),
             meta_keys=('sample_idx', 'img_path')),
    ]


def dataset(root: Path, steps: list) -> dict:
    return dict(
        type='amt_mm.ImageFolder', data_root=str(root / 'images'),
        data_prefix='', ann_file='', metainfo=None, on_unreadable='skip',
        extensions=('.png', '.jpg'), pipeline=steps, lazy_init=False,
        serialize_data=True, test_mode=False, indices=None, filter_cfg=None,
        max_refetch=10)


def update(**source: Any) -> dict:
    return dict(
        type='amt_mm.SaliencyUpdateHook', interval=1, begin=1, batch_size=5,
        num_workers=0, keep=2, max_uniform_share=0.5, store_dir=None,
        source=source)


def probe(root: Path) -> dict:
    return dict(
        type='amt_mm.ProbeHook', interval=2, at_start=False,
        dataset=str(root / 'images'), val_dataset=None, max_images=10, k=2,
        temperature=0.07, linear=False, batch_size=5, num_workers=0)


def linear(start: float, end: float) -> dict:
    return dict(type='amt_mm.LinearSchedule', start=start, end=end, begin=0,
                until=1)


STATISTICS = dict(type='amt_mm.MaskStatisticsHook', interval=1)
SEED, UNREADABLE = (dict(type=f'amt_mm.{name}')
                    for name in ('EpochSeedHook', 'UnreadableImagesHook'))


def config(root: Path, model: dict, steps: list, *hooks: dict) -> dict:
    return dict(
        model=model,
        train_dataloader=dict(dataset=dataset(root, steps)),
        custom_hooks=[SEED, STATISTICS, UNREADABLE, *hooks])


def configs(root: Path) -> dict[str, dict]:
    """Return the valid configs; ``root`` holds what they read."""
    return dict(
        mae=config(
            root, mae_model(),
            pipeline(32, mask_ratio=linear(0.4, 0.5), ordering=dict(
                type='amt_mm.AttentionOrdering', temperature=0.9,
                uniform_mix=0.1), layout=dict(type='amt_mm.ThrowMiddle')),
            update(type='amt_mm.ModelSaliency')),
        simmim=config(
            root, simmim_model(vit(
                'AMTSimMIMViT', img_size=64, in_channels=3, qkv_bias=True,
                with_cls_token=True, frozen_stages=-1, pre_norm=False,
                layer_scale_init_value=0.)),
            pipeline(64, cell_size=16, rounding='ceil', ordering=dict(
                type='amt_mm.AttMaskHighOrdering'), layout=dict(
                    type='amt_mm.ShowHints', hint_ratio=0.5, top_ratio=0.2,
                    rest=dict(type='amt_mm.ThrowLow'))),
            update(type='amt_mm.FolderSaliency', root=str(root / 'maps'))),
        beit=config(
            root, simmim_model(vit(
                'AMTBEiTPretrainViT', in_channels=3, frozen_stages=-1,
                use_abs_pos_emb=False, use_rel_pos_bias=False,
                use_shared_rel_pos_bias=True, layer_scale_init_value=0.1)),
            pipeline(32, ordering=dict(type='amt_mm.AttMaskLowOrdering'),
                     layout=dict(type='amt_mm.ThrowRandom')),
            update(type='amt_mm.TeacherSaliency',
                   checkpoint=str(root / 'teacher.pth'), backbone=dict(
                       type='mmpretrain.VisionTransformer', arch=arch(),
                       img_size=32, patch_size=8),
                   head_reduction='scale_then_mean', data_preprocessor=None)),
        maskfeat=config(
            root, maskfeat_model(),
            pipeline(32, ordering=dict(
                type='amt_mm.BlockOrdering', min_patches=2, min_aspect=0.3),
                layout=dict(type='amt_mm.ThrowMiddle'))),
        probe=config(
            root, mae_model(),
            pipeline(32, ordering=dict(type='amt_mm.GridOrdering')),
            probe(root)))


# ---- changes

DELETE = 'deleted'
# what mmengine alone reads, before anything of this project does
MMENGINES = (('model', ), ('custom_hooks', ), ('train_dataloader', ),
             ('train_dataloader', 'dataset'))
VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 3, 10**9, 10**400, -0.5, 0., 0.5, 1.,
    2.5, 1e-300, 1e308, float('nan'), float('inf'), float('-inf'), '', 'x',
    'nan', [], [1, 2], [0.5, 'x'], (), {}, {'foo': 1}, [None], (3, 5), [{}])


class Change(NamedTuple):
    """What is different in one key, and the names an error may use."""

    key: str
    what: str
    names: tuple[str, ...]
    value: Any = None

    def __str__(self) -> str:
        return f'{self.key} {self.what}'


NO_CHANGE = Change('', '', ())


def change(cfg: dict, rng: random.Random) -> tuple[dict, Change]:
    """Return a config with one key set, deleted, misspelt or added."""
    cfg = copy.deepcopy(cfg)
    path = rng.choice(list(keys(cfg)))
    node = cfg
    for step in path[:-1]:
        node = node[step]
    key, dotted = path[-1], '.'.join(map(str, path))
    kind = rng.choices(('set', 'delete', 'misspell', 'add'), (12, 2, 2, 1))[0]
    if isinstance(key, int):  # a step or a hook
        kind = 'delete' if path[0] == 'custom_hooks' else 'set'
    if kind == 'set':
        old = node[key]
        node[key] = other_value(old, rng)
        if dotted.endswith('type') and node[key] == '':
            node[key] = 'x'  # mmengine fails at an empty name by itself
        return cfg, Change(dotted, f'{old!r} -> {node[key]!r}',
                           names(path, node[key], old) + unknown(node[key]),
                           node[key])
    if kind == 'delete':
        old = node.pop(key)
        return cfg, Change(dotted, DELETE, names(path, old))
    wrong = misspelt(key, rng) if kind == 'misspell' else 'unknown_key'
    node[wrong] = node.pop(key) if kind == 'misspell' else rng.choice(VALUES)
    # in a list of keys, a misspelt one is also one that lacks
    return cfg, Change(dotted, f'as {wrong}: {node[wrong]!r}',
                       (wrong, *names(path, None)))


def keys(node: Any, path: tuple = ()) -> Iterator[tuple]:
    """Yield the paths of all keys below a node."""
    items = enumerate(node) if isinstance(node, list) else node.items()
    for key, value in items:
        if (*path, key) not in MMENGINES:
            yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from keys(value, (*path, key))


def other_value(old: Any, rng: random.Random) -> Any:
    """Return a value of any kind, or one near to the old."""
    near = [v for v in nearby(old) if not same(v, old)]
    if near and rng.random() < 0.3:
        return rng.choice(near)
    return rng.choice([v for v in VALUES if not same(v, old)])


def nearby(old: Any) -> tuple:
    if isinstance(old, bool):
        return not old, int(old), str(old)
    if isinstance(old, (int, float)):
        return (old + 1, old * 2, old / 2, -old, float(old), str(old),
                (old, old))
    if isinstance(old, str):
        return old.upper(), old + ' ', old + 'x', [old]
    if isinstance(old, (list, tuple)):
        return list(old)[:1], [*old, *old], tuple(old)[::-1], dict(foo=old)
    return ([old], ) if isinstance(old, dict) else ()


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def misspelt(key: str, rng: random.Random) -> str:
    """Leave out, double or exchange a letter."""
    at = rng.randrange(len(key))
    return rng.choice((key[:at] + key[at + 1:] or 'q', key[:at + 1] + key[at:],
                       key + 's', key.upper()))


def unknown(value: Any) -> tuple[str, ...]:
    """Return the keys that a new value brings, which no one knows."""
    return tuple(value) if isinstance(value, dict) else ()


def names(path: tuple, *values: Any) -> tuple[str, ...]:
    """Return what an error may call the key at a path."""
    *above, key = path
    if isinstance(key, int):  # an item is named by what holds it
        key = [k for k in above if isinstance(k, str)][-1]
    found = [key]
    if key == 'type':  # of this the value is the name
        found += [v for v in values if isinstance(v, str) and v.strip()]
    return tuple(found)
