"""Call a tool in the process of a test: one of its own takes seconds.

And the folder of a demo, whose 800 images are made once.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from functools import cache
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope
from small_configs import read_config

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.fixture(scope='session')
def demo_model():
    """A model of pre-training, whose class token is not zero."""
    cfg = read_config('mae_amt_vit-t_30e_demo')
    init_default_scope('mmpretrain')
    cfg.model.data_preprocessor = cfg.data_preprocessor
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        model.init_weights()
        torch.nn.init.normal_(model.backbone.cls_token)
    return model.eval()


@pytest.fixture(scope='session')
def full_demo_data(tmp_path_factory):
    """A folder that the first of the demos fills; the others find it full."""
    return tmp_path_factory.mktemp('full_demo_data')


@pytest.fixture
def demo(full_demo_data, tmp_path):
    """The work dir of a demo."""
    (tmp_path / 'demo').mkdir()
    (tmp_path / 'demo' / 'data').symlink_to(full_demo_data)
    return tmp_path / 'demo'


@cache
def load(name):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def call(monkeypatch, capsys):
    """Return a function that calls a tool and returns what a process would."""
    logger = MMLogger.get_current_instance()
    level = logger.level

    def run(name, *args):
        monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, args)])
        code, error = 0, ''
        try:
            load(name).main()
        except SystemExit as stop:
            code = 1
            error = f'{stop.code}\n' if isinstance(stop.code, str) else ''
        except Exception:
            code, error = 1, traceback.format_exc()
        out, err = capsys.readouterr()
        return CompletedProcess(args, code, out, err + error)

    yield run
    logger.setLevel(level)
