"""The segmentation configs build, load an encoder and train."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.models import VisionTransformer
from PIL import Image
from small_configs import read_config

pytest.importorskip('mmseg')
from mmengine.registry import MODELS  # noqa: E402

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs' / 'segmentation'
ADE20K = CONFIGS / 'upernet_vit-b_160k_ade20k.py'
DEMO = CONFIGS / 'upernet_vit-t_demo.py'
ARCH = dict(
    embed_dims=48, num_layers=4, num_heads=4, feedforward_channels=96)
SMALL = (
    *(f'model.backbone.arch.{k}={v}' for k, v in ARCH.items()),
    'model.backbone.arch._delete_=True',
    'model.backbone.out_indices=[0,1,2,3]', 'model.neck.embed_dim=48',
    'model.decode_head.in_channels=[48,48,48,48]',
    'model.decode_head.channels=16', 'model.auxiliary_head.in_channels=48',
    'model.auxiliary_head.channels=16', 'default_hooks.logger.interval=1')


@pytest.fixture
def encoder(tmp_path):
    """Return a function that writes a checkpoint of a small encoder."""

    def write(patch_size: int, img_size: int = 64) -> Path:
        torch.manual_seed(0)
        vit = VisionTransformer(
            ARCH, img_size=img_size, patch_size=patch_size)
        state = {f'backbone.{k}': v for k, v in vit.state_dict().items()}
        grid = [img_size // patch_size] * 2
        torch.save(dict(state_dict=state, meta=dict(grid=grid)),
                   tmp_path / 'encoder.pth')
        return tmp_path / 'encoder.pth'

    return write


def scalars(work_dir: Path) -> list[dict]:
    log = max(work_dir.glob('*/vis_data/scalars.json'))
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.parametrize('path', [ADE20K, DEMO], ids=lambda p: p.stem)
def test_config_builds_at_its_true_size(path):
    cfg = read_config(path)
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    width = cfg.model.neck.embed_dim
    assert model.backbone.layers[0].attn.qkv.weight.shape == (3 * width, width)
    assert cfg.model.backbone.init_cfg._scope_ == 'amt_mm'
    size = cfg.crop_size[0] // 2
    with torch.device('meta'):
        maps = model.extract_feat(torch.zeros(1, 3, size, size))
    strides = [cfg.model.backbone.patch_size // 4 * 2**i for i in range(4)]
    assert [m.shape[-1] for m in maps] == [size // s for s in strides]


def test_ade20k_schedule_is_the_published_one():
    cfg = read_config(ADE20K)
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[-1].end == 160_000
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.train_dataloader.dataset.type == 'ADE20KDataset'
    assert cfg.model.decode_head.num_classes == 150


def test_demo_trains_from_a_checkpoint_and_is_tested(tool, encoder, demo_data,
                                                     tmp_path):
    options = (*SMALL, f'data_root={demo_data}',
               f'model.backbone.init_cfg.checkpoint={encoder(8)}',
               'train_dataloader.num_workers=0', 'train_cfg.max_iters=12',
               'val_dataloader.num_workers=0', 'train_cfg.val_interval=12',
               'default_hooks.checkpoint.interval=12',
               'default_hooks.visualization.interval=4')
    run = tmp_path / 'run'
    done = tool('train', DEMO, '--work-dir', run, '--cfg-options', *options)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 'encoder loaded from' in done.stdout
    assert 'pos_embed (1, 65, 48) -> (1, 257, 48)' in done.stdout
    lines = scalars(run)
    losses = [line['loss'] for line in lines if 'loss' in line]
    assert len(losses) == 12 and min(losses[-3:]) < losses[0]
    assert 0 < lines[-1]['mIoU'] <= 100
    assert len(list(run.glob('*/vis_data/vis_image/*.png'))) == 2
    tested = tool('test', DEMO, run / 'iter_12.pth', '--work-dir', run,
                  '--cfg-options', *options, 'test_dataloader.num_workers=0')
    assert tested.returncode == 0, tested.stderr[-2000:]
    assert f'mIoU: {lines[-1]["mIoU"]:.4f}' in tested.stdout
    assert 'lacked, so new: nothing.' in tested.stdout


def write_ade20k(source: Path, target: Path) -> None:
    """Give real images and class maps the layout and labels of ADE20K."""
    ids = json.loads((source / 'semantic' / 'classes.json').read_text())
    contiguous = np.zeros(256, np.uint8)  # 0 is what ADE20K leaves out
    for new, old in enumerate(sorted(int(i) for i in ids if i != '0')):
        contiguous[old] = new + 1
    for split, name in (('train2017', 'training'), ('val2017', 'validation')):
        for kind in ('images', 'annotations'):
            (target / kind / name).mkdir(parents=True)
        maps = sorted((source / 'semantic' / split).glob('*.png'))
        for path in maps[:2]:
            values = contiguous[np.asarray(Image.open(path))]
            assert values.max() <= 150
            Image.fromarray(values).save(
                target / 'annotations' / name / path.name)
            shutil.copy(source / 'images' / split / f'{path.stem}.jpg',
                        target / 'images' / name)


def test_ade20k_config_trains_on_real_images(tool, encoder, unpack, tmp_path):
    write_ade20k(unpack('coco_mini'), tmp_path / 'ade')
    done = tool(
        'train', ADE20K, '--work-dir', tmp_path / 'run', '--cfg-options',
        *SMALL, f'data_root={tmp_path / "ade"}', 'train_cfg.max_iters=1',
        'train_cfg.val_interval=1', 'train_dataloader.num_workers=0',
        'val_dataloader.num_workers=0',
        f'model.backbone.init_cfg.checkpoint={encoder(16, 224)}')
    assert done.returncode == 0, done.stderr[-2000:]
    lines = scalars(tmp_path / 'run')
    assert np.isfinite(lines[0]['loss'])
    assert 0 <= lines[-1]['mIoU'] <= 100
    assert 'pos_embed (1, 197, 48) -> (1, 1025, 48)' in done.stdout
