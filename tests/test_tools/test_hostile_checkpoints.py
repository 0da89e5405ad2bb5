"""What a checkpoint of a stranger can do through the tools: nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

CONFIG = Path(__file__).parents[2] / 'configs' / 'mae_amt_vit-t_30e_demo.py'


class Touch:
    """Make a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}', )


@pytest.fixture
def case(tmp_path):
    """Return a hostile file, and what it makes."""
    pwned = tmp_path / 'pwned'
    torch.save(dict(state_dict={}, meta={}, x=Touch(pwned)),
               tmp_path / 'evil.pth')
    return tmp_path / 'evil.pth', pwned


def refused(result, path):
    assert result.returncode == 1 and 'epoch' not in result.stdout
    assert f'the checkpoint {path} is not trusted: it holds the pickled ' \
        'code posix.system' in result.stderr


def test_train_refuses_code(tool, case, tmp_path, demo_data):
    evil, pwned = case

    def train(*options):
        return tool(
            'train', CONFIG, '--work-dir', tmp_path / 'run', *options,
            'default_hooks.checkpoint.interval=1', 'train_cfg.max_epochs=1',
            'train_dataloader.batch_size=4', 'train_dataloader.num_workers=0',
            f'train_dataloader.dataset.data_root={demo_data / "train"}')

    refused(train('--resume', evil, '--cfg-options'), evil)
    refused(train('--cfg-options', f'load_from={evil}'), evil)
    # what the model itself loads, by mmengine's rule
    initial = train(
        '--cfg-options', 'resume=None',
        'model.backbone.init_cfg.type=Pretrained',
        f'model.backbone.init_cfg.checkpoint={evil}')
    assert initial.returncode == 1
    assert 'a checkpoint of this run is not trusted' in initial.stderr
    # load_from reads tensors, also of a file that is trusted
    begun = train('--trust-checkpoint', '--cfg-options', f'load_from={evil}')
    assert begun.returncode == 1 and 'posix.system' in begun.stderr
    assert not pwned.exists()
    trusted = train('--trust-checkpoint', '--resume', evil, '--cfg-options')
    assert 'holds no run to resume' in trusted.stderr and pwned.exists()


def test_other_tools_refuse_code(tool, call, case, tmp_path, demo_data):
    evil, pwned = case
    classes = tmp_path / 'classes'
    for split in ('train', 'val'):
        shutil.copytree(demo_data / split, classes / split / 'a')
    classify = CONFIG.parent / 'classification' / 'vit-t_linear_demo.py'
    refused(tool('test', classify, evil, '--work-dir', tmp_path / 'run'),
            evil)
    for args in (
            ('localize', CONFIG, evil, '--images', demo_data / 'val',
             '--masks', demo_data / 'semantic' / 'val'),
            ('export', evil, '--to', 'timm'),
            ('knn', classify, evil, '--k', 1, '--cfg-options',
             f'data_root={classes}')):
        result = call(*args)
        assert result.returncode == 1 and 'posix.system' in result.stderr
    assert not pwned.exists()
