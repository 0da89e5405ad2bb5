"""Every command of docs/tutorial.md runs, one after the other, shrunk."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / 'docs' / 'tutorial.md').read_text()
# what makes each command short; nothing else of it is changed
SHORT = {
    'make_demo_data.py': ['--num-train', '24', '--num-val', '16'],
    'configs/mae_amt_vit-t_30e_demo.py': [
        'train_cfg.max_epochs=2', 'train_dataloader.batch_size=8',
        'train_dataloader.num_workers=0', 'default_hooks.checkpoint.interval='
        '1', 'param_scheduler.0.end=1'],
    'vit-t_linear_demo.py': ['train_dataloader.num_workers=0',
                             'val_dataloader.num_workers=0'],
    'mask-rcnn_vitdet-t_demo.py': [
        'train_cfg.max_iters=2', 'train_cfg.val_interval=2',
        'train_dataloader.num_workers=0', 'train_dataloader.batch_size=1',
        'val_dataloader.num_workers=0', 'val_dataloader.dataset.indices=2',
        'test_dataloader.dataset.indices=2', 'test_dataloader.num_workers=0',
        'default_hooks.checkpoint.interval=1'],
}
FILES = {'epoch_30.pth': 'epoch_2.pth', 'iter_300.pth': 'iter_2.pth'}


def commands() -> list[list[str]]:
    """Split the blocks of the page into commands, and these into words."""
    blocks = re.findall(r'^```bash\n(.*?)^```$', TEXT, re.M | re.S)
    lines = ''.join(blocks).replace('\\\n', ' ').splitlines()
    return [shlex.split(line) for line in lines]


def shortened(words: list[str]) -> list[str]:
    """Return what is run in place of a command."""
    assert words[0] == '.venv/bin/python'
    for old, new in FILES.items():
        words = [word.replace(old, new) for word in words]
    extra = next((options for name, options in SHORT.items()
                  if any(word.endswith(name) for word in words)), [])
    if '--cfg-options' in words:  # which reads all that follow
        return [sys.executable, *words[1:], *extra]
    if extra and extra[0].startswith('--'):
        return [sys.executable, *words[1:], *extra]
    return [sys.executable, *words[1:]]


def test_the_whole_page(tmp_path):
    pytest.importorskip('mmcv._ext', reason='mmcv has no compiled operators')
    for name in ('configs', 'tools'):
        (tmp_path / name).symlink_to(ROOT / name)
    printed = []
    for words in commands():
        result = subprocess.run(
            shortened(words), cwd=tmp_path, capture_output=True, text=True,
            timeout=600, env=environment())
        assert result.returncode == 0, (words, result.stderr[-2000:])
        printed.append(result.stdout + result.stderr)
    assert len(printed) == 9
    _, plan, _, look, trained, random, detector, tested, export = printed
    assert '28 masked, 26 thrown, 10 visible of 64 tokens' in plan
    assert (tmp_path / 'work_dirs/tutorial/look/index.html').is_file()
    assert look.count('of 64 patches on average') == 2
    for text in (trained, random):
        assert 'k-NN top-1' in text and 'linear probe top-1' in text
    assert 'encoder loaded from work_dirs/tutorial/epoch_2.pth' in detector
    for text in (detector, tested):
        assert 'coco/bbox_mAP_50' in text
    assert 'timm' in export


def environment() -> dict[str, str]:
    """Return that of a reader, with this checkout's package."""
    return {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
