"""Golden files: what the program computed when they were written.

``golden('name', found)`` compares what a test computed with
``tests/golden/name.json``: integers, names and shapes exactly, floats to
``1e-5``. After a change that is meant to change numbers::

    python -m pytest tests/test_golden --renew-golden

writes them anew; ``git diff tests/golden`` then shows which numbers moved,
and the commit says why. Other instruction sets, which torch, oneDNN, numpy
and OpenCV can be told to use, move floats by less than a tenth of what is
allowed.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

GOLDEN = Path(__file__).parents[1] / 'golden'
MAX_SHOWN = 12
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
            path.write_text(_dumps(found))
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
    """Write a dict key by key, all else on one line."""
    if not isinstance(node, dict):
        return json.dumps(node)
    inner = indent + ' '
    lines = [f'{inner}{json.dumps(key)}: {_dumps(value, inner)}'
             for key, value in node.items()]
    end = '\n' if not indent else ''
    return '{\n' + ',\n'.join(lines) + f'\n{indent}}}' + end


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
