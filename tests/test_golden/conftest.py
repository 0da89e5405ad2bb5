"""Golden files: what the program computed when they were written.

``golden('name', found)`` compares what a test computed with
``tests/golden/name.json``: integers, names and shapes exactly, floats to
``1e-5``. After a change that is meant to change numbers::

    python -m pytest tests/test_golden --renew-golden

writes them anew; ``git diff tests/golden`` then shows which numbers moved,
and the commit says why. Other instruction sets, which torch, oneDNN and numpy
can be told to use, move floats by at most an eighth of what is allowed;
OpenCV without IPP moves the pixels of ``input.json`` by more than half.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_configs import read_config

TESTS = Path(__file__).parents[1]
GOLDEN, CONFIGS = TESTS / 'golden', TESTS.parent / 'configs'
MAX_SHOWN, WIDTH = 12, 72
NUM_IMAGES = 22  # does not divide by 4, the batch size of the runs


def pytest_addoption(parser):
    parser.addoption('--renew-golden', action='store_true',
                     help='write tests/golden/*.json anew')


@pytest.fixture
def golden(request):
    """Return a function that compares numbers with those of a file.

    With ``is_part`` only the keys that were found are compared.
    """
    renew = request.config.getoption('--renew-golden')

    def check(name, found, rtol=1e-5, atol=1e-5, is_part=False):
        path = GOLDEN / f'{name}.json'
        found = _plain(found)
        if renew and not is_part:
            path.write_text(_dumps(found) + '\n')
        expected = json.loads(path.read_text())
        if is_part:
            expected = {key: expected[key] for key in found}
        wrong = list(_differences(found, expected, rtol, atol))
        assert not wrong, '\n'.join(
            [f'{len(wrong)} numbers differ from {path.name}:',
             *wrong[:MAX_SHOWN]])

    return check


@pytest.fixture(autouse=True)
def one_thread():
    """Sum in one order on every machine."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope='session')
def golden_images(tmp_path_factory):
    """Return a folder of PNGs, whose pixels no decoder changes."""
    root = tmp_path_factory.mktemp('golden')
    rng = np.random.default_rng(0)
    for i in range(NUM_IMAGES):
        rows, columns = rng.integers(3, 7, 2)
        blocks = rng.integers(0, 256, (rows, columns, 3), dtype=np.uint8)
        pixels = blocks.repeat(16, 0).repeat(16, 1)
        Image.fromarray(pixels).save(root / f'{i:02d}.png')
    return root


@pytest.fixture
def golden_cfg(golden_images, tiny_arch, tmp_path):
    """Return a function that shrinks a shipped config to a run of seconds."""

    def make(name, num_epochs, **options):
        cfg = read_config(name)
        dataset = dict(
            type='amt_mm.ImageFolder', data_root=str(golden_images),
            pipeline=cfg.train_dataloader.dataset.pipeline)
        cfg.train_dataloader = dict(
            batch_size=4, num_workers=0, dataset=dataset,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=True))
        crop, generator = dataset['pipeline'][2], dataset['pipeline'][4]
        # its resizing gives the same pixels on every machine
        crop.update(scale=64, backend='pillow')
        generator.input_size = 64
        generator.patch_size = 8
        model = cfg.model
        model.backbone.update(arch=tiny_arch, img_size=64, patch_size=8)
        if name.startswith('mae'):
            model.neck.update(
                num_patches=64, patch_size=8, embed_dim=32,
                decoder_embed_dim=32, decoder_depth=2, decoder_num_heads=4)
            model.head.patch_size = 8
        elif name.startswith('simmim'):
            generator.cell_size = 16
            model.neck.in_channels = 32
            model.neck.encoder_stride = model.head.patch_size = 8
        else:
            model.neck.update(in_channels=32, out_channels=27)
            model.target_generator.patch_size = 8
        # a larger eps: what has a gradient of nothing but rounding errors,
        # such as the bias of the keys, stays where it is on every machine
        cfg.optim_wrapper.optimizer.update(lr=1e-2, eps=1e-4)
        # which also logs the norm of the gradients
        cfg.optim_wrapper.setdefault('clip_grad', dict(max_norm=1e9))
        cfg.golden_schedulers = cfg.param_scheduler
        cfg.param_scheduler = []
        cfg.train_cfg.max_epochs = num_epochs
        cfg.randomness = dict(seed=0)
        cfg.custom_hooks[1].update(interval=2, begin=1)
        cfg.default_hooks.pop('visualization')
        cfg.default_hooks.logger.interval = 1
        cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=10)
        cfg.log_level = 'WARNING'
        cfg.work_dir = str(tmp_path / 'run')
        cfg.experiment_name = tmp_path.name
        cfg.merge_from_dict(options)
        return cfg

    return make


def _plain(node):
    """Turn arrays into lists and round floats to what is compared."""
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_plain(value) for value in node]
    if isinstance(node, (np.ndarray, np.generic, torch.Tensor)):
        return _plain(node.tolist())
    return float(f'{node:.8g}') if isinstance(node, float) else node


def _dumps(node, indent=''):
    """Write as JSON, what is longer than a line item by item."""
    line = json.dumps(node)
    if len(line) < WIDTH or not isinstance(node, (dict, list)):
        return line
    inner = indent + ' '
    if isinstance(node, dict):
        items = [f'{json.dumps(key)}: {_dumps(value, inner)}'
                 for key, value in node.items()]
    elif isinstance(node[0], list) or len(line) > 30 * len(node):
        items = [_dumps(value, inner) for value in node]
    else:
        return line
    lines = f',\n{inner}'.join(items)
    return f'{line[0]}\n{inner}{lines}\n{indent}{line[-1]}'


def _differences(found, expected, rtol, atol, where=''):
    """Yield one line for each number that is not as expected."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in {**expected, **found}:
            place = f'{where}/{key}'
            if key not in found or key not in expected:
                yield f'{place}: only ' + (
                    'found' if key in found else 'expected')
            else:
                yield from _differences(found[key], expected[key], rtol,
                                        atol, place)
    elif isinstance(expected, list) and isinstance(found, list):
        if len(found) != len(expected):
            yield f'{where}: {len(found)} values, expected {len(expected)}'
        for i, pair in enumerate(zip(found, expected, strict=False)):
            yield from _differences(*pair, rtol, atol, f'{where}/{i}')
    elif type(found) is not type(expected) or (
            abs(found - expected) > atol + rtol * abs(expected)
            if isinstance(found, float) else found != expected):
        yield f'{where}: {found}, expected {expected}'
