"""A changed argument of ours runs as it says, or the error names it.

    AMT_MM_FUZZ=2000 AMT_MM_FUZZ_SEED=7 python -m pytest \\
        tests/test_config_fuzz.py

tries more changes, and others.
"""

from __future__ import annotations

import math
import os
import random
import re
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from PIL import Image
from small_configs import ARCH, PACK, linear, run_config, write_images

COUNT = int(os.environ.get('AMT_MM_FUZZ', 40))
FIRST = int(os.environ.get('AMT_MM_FUZZ_SEED', 0))
EPOCHS, NUM_IMAGES, BATCH_SIZE = 2, 10, 3
VALUES = (None, True, False, -1, 0, 1, 2, 3, 10**9, -0.5, 0., 0.5,
          1., 2.5, 1e-300, 1e308, float('nan'), float('inf'), '', 'x', [],
          [1, 2], (), {}, {'foo': 1}, [None], (3, 5), [{}])


def base(root):
    """Return the parts of a valid config that have keys of this package."""
    return dict(
        model=dict(
            type='amt_mm.AMTSimMIM', head_reduction='scale_then_mean',
            backbone=dict(type='amt_mm.AMTSimMIMViT', arch=ARCH, img_size=64,
                          patch_size=8),
            neck=dict(type='amt_mm.AMTSimMIMLinearDecoder', in_channels=32,
                      encoder_stride=8),
            head=dict(type='amt_mm.AMTSimMIMHead', patch_size=8, loss=dict(
                type='mmpretrain.PixelReconstructionLoss', criterion='L1',
                channel=3), saliency_weight=0.5)),
        dataset=dict(
            type='amt_mm.ImageFolder', data_root=str(root / 'images'),
            on_unreadable='skip', extensions=('.png', '.jpg')),
        pipeline=[
            dict(type='amt_mm.SeedSample'),
            dict(type='amt_mm.LoadImage', keep_last=False, keep_all=False,
                 white_level=65535),
            dict(type='amt_mm.RandomResizedCropWithBox', scale=64),
            dict(type='amt_mm.AMTMaskGenerator', input_size=64, patch_size=8,
                 cell_size=16, rounding='ceil', with_saliency=True,
                 mask_ratio=linear(0.4, 0.45, until=1, begin=0),
                 throw_ratio=0.3, warmup_mask_ratio=0.7,
                 warmup_throw_ratio=0.1, ordering=dict(
                     type='amt_mm.AttentionOrdering', temperature=0.9,
                     uniform_mix=0.1),
                 layout=dict(type='amt_mm.ShowHints', hint_ratio=0.5,
                             top_ratio=0.2, rest=dict(
                                 type='amt_mm.ThrowLow')))],
        hook=dict(type='amt_mm.SaliencyUpdateHook', interval=1, begin=1,
                  batch_size=5, num_workers=0, keep=2, max_uniform_share=0.5,
                  store_dir=None, source=dict(
                      type='amt_mm.FolderSaliency', root=str(root / 'maps'))))


def keys(node, path=()):
    """Yield the paths of all keys that are this package's own."""
    for key, value in enumerate(node) if isinstance(node, list) else (
            node.items()):
        if path[:1] == ('model', ) and (len(path) > 1 or isinstance(
                value, dict)) and key not in (
                    'neck', 'head', 'num_patches', 'saliency_weight'):
            continue  # mmpretrain's
        if path and key != 'type' and not isinstance(key, int):
            yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from keys(value, (*path, key))


def changed(cfg, rng):
    """Return a config with one value changed, and the path of its key."""
    path = rng.choice([p for p in keys(cfg) if p not in (
        ('model', 'neck'), ('model', 'head'))])
    *above, key = path
    node = cfg
    for step in above:
        node = node[step]
    old = node[key]
    near = [old * 2, old / 2, -old, str(old)] if isinstance(
        old, (int, float)) else [f'{old}x', [old]]
    node[key] = rng.choice(near if rng.random() < 0.4 else VALUES)
    return cfg, path, node[key]


@HOOKS.register_module(force=True)
class Batches(Hook):
    """Remember the grid and the counts of every sample, and the losses."""

    def before_run(self, runner):
        self.seen, self.losses = {}, []

    def after_train_iter(self, runner, batch_idx, data_batch=None,
                         outputs=None):
        self.losses.append(outputs['loss'].item())
        self.seen.setdefault(runner.epoch, set()).update(
            (s.mask_plan.shape, tuple(int((s.mask_plan == flag).sum())
                                      for flag in (1, -1, 0)))
            for s in data_batch['data_samples'])


def train(cfg, work_dir):
    runner = Runner.from_cfg(run_config(
        work_dir.parent, [*cfg['pipeline'], PACK],
        [dict(type='amt_mm.EpochSeedHook'), cfg['hook'],
         dict(type='Batches')], cfg['dataset'], cfg['model'],
        work_dir=str(work_dir), default_hooks=dict(checkpoint=None)))
    runner.train()
    return runner


# ---- what a config says, worked out apart from the product


def update_epochs(hook):
    """Return the epochs before which maps are made."""
    source = hook.get('source') or dict(type='amt_mm.ModelSaliency')
    is_static = 'Model' not in source['type']
    begin = hook['begin']
    if begin is None:
        begin = 0 if is_static else hook['interval']
    begin, interval = (max(1, round(n * EPOCHS)) if isinstance(n, float)
                       else n for n in (begin, hook['interval']))
    epochs = [*range(begin, EPOCHS, interval)]
    return epochs[:1] if is_static else epochs


def counts(cfg, epoch):
    """Return the token grid and the counts of every sample."""
    mask = cfg['pipeline'][3]
    size = mask['input_size']
    size = (size, size) if isinstance(size, int) else size
    side = mask['patch_size']
    cell = mask.get('cell_size') or side
    number = (size[0] // cell) * (size[1] // cell)
    epochs = update_epochs(cfg['hook'])
    if epochs and epochs[0] <= epoch:
        r, t = (ratio_at(mask[f'{role}_ratio'], epoch)
                for role in ('mask', 'throw'))
    else:
        r, t = mask['warmup_mask_ratio'], mask['warmup_throw_ratio']
    r, t = Fraction(repr(r)), Fraction(repr(t))
    masked, thrown = math.floor(number * r), math.floor(number * (r + t))
    thrown -= masked
    if mask['rounding'] == 'ceil':
        masked, thrown = math.ceil(number * r), math.ceil(number * t)
    roles = masked, thrown, number - masked - thrown
    return ((size[0] // side, size[1] // side),
            tuple(n * (cell // side)**2 for n in roles))


def ratio_at(ratio, epoch):
    if not isinstance(ratio, dict):
        return ratio
    begin = ratio['begin']
    share = min(max((epoch - begin) / (ratio['until'] - begin), 0.), 1.)
    return round((1 - share) * ratio['start'] + share * ratio['end'], 9)


def outcome(cfg, path, value, work_dir):
    """Return ``'run'`` or the name of an error, or what is wrong."""
    try:
        runner = train(cfg, work_dir)
    except (ValueError, TypeError, KeyError, FileNotFoundError) as error:
        name = next(k for k in reversed(path) if isinstance(k, str))
        names = name, *(value if isinstance(value, dict) else ())
        if any(re.search(rf'(?<![a-z]){n}(?![a-z])', str(error))
               for n in names):
            return type(error).__name__
        return f'wrong: {path} = {value!r} not named by {error!r}'
    except Exception as error:
        return f'wrong: {path} = {value!r}: {error!r}'
    batches = next(h for h in runner.hooks if isinstance(h, Batches))
    store = next(h.store for h in runner.hooks if hasattr(h, 'store'))
    epochs = update_epochs(cfg['hook'])
    wanted = ({e: {counts(cfg, e)} for e in range(EPOCHS)},
              EPOCHS * math.ceil(NUM_IMAGES / BATCH_SIZE),
              epochs[-1] if epochs else None)
    found = batches.seen, len(batches.losses), store.generation
    if wanted != found or not np.isfinite(batches.losses).all():
        return f'wrong: {path} = {value!r}: ran {found}, says {wanted}'
    return 'run'


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where a relative path may write
    write_images(tmp_path, NUM_IMAGES, 'png')
    (tmp_path / 'maps').mkdir()
    rng = np.random.default_rng(0)
    for i in range(NUM_IMAGES):
        Image.fromarray(rng.integers(0, 256, (40, 48), np.uint8)).save(
            tmp_path / 'maps' / f'{i}.png')
    return tmp_path


@pytest.mark.timeout(600 + 3 * COUNT)
def test_a_changed_argument_runs_as_it_says_or_is_named(root, show):
    assert outcome(base(root), (), None, root / 'base') == 'run'
    results = Counter()
    for seed in range(FIRST, FIRST + COUNT):
        rng = random.Random(seed)
        result = outcome(*changed(base(root), rng), root / f'run_{seed}')
        results[result] += 1
    show(f'{COUNT} changes: {dict(results)}')
    assert not [r for r in results if r.startswith('wrong')], results
    # all kinds of outcomes, or the changes are not what they should be
    assert results['run'] > COUNT / 20
    assert results['ValueError'] > COUNT / 6
    assert results['TypeError'] > COUNT / 6
