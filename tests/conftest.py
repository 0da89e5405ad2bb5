"""What several test modules share."""
from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tool_process import run_tool
from yapf.yapflib import yapf_api

from projects.demo.demo_data import write_demo_data

# one precision on all machines: a CPU with AMX would train in bfloat16
os.environ.setdefault('ONEDNN_MAX_CPU_ISA', 'AVX512_CORE_FP16')

ROOT = Path(__file__).parents[1]
SHARED = Path(__file__).parents[2] / 'shared' / 'data'


def pytest_collection_finish() -> None:
    """Keep what was imported from the garbage collector.

    mmengine calls it for each data set: half a second with these modules.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='session', autouse=True)
def _format_once():
    """Format the text of a config once, not for each checkpoint: 0.7 s."""
    genuine, known = yapf_api.FormatCode, {}

    def once(text, **options):
        if text not in known:
            known[text] = genuine(text, **options)
        return known[text]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yapf_api, 'FormatCode', once)
        yield


@pytest.fixture
def show() -> Callable[[str], None]:
    """Write a line of figures, which ``pytest -s`` shows."""

    def write(line: str) -> None:
        sys.stdout.write(f'{line}\n')

    return write


@pytest.fixture
def tool():
    """Return a function that runs ``tools/NAME.py`` and returns the result."""

    def run(name, *args, cwd=None):
        env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
        script = str(ROOT / 'tools' / f'{name}.py')
        return run_tool([script, *map(str, args)], env, cwd)

    return run


@pytest.fixture(scope='session')
def build_wheel() -> Callable[[Path, Path], Path]:
    """Build the wheel of a folder, which building writes into."""

    def build(source: Path, target: Path) -> Path:
        subprocess.run(
            [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-index',
             '--no-build-isolation', '--wheel-dir', target, source],
            check=True, capture_output=True)
        return next(target.glob('*.whl'))

    return build


@pytest.fixture(scope='session')
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout: mim would find what building leaves in it."""
    folder = tmp_path_factory.mktemp('source') / 'amt_mm'
    hidden = shutil.ignore_patterns('.*', 'work_dirs', 'data', 'build')
    shutil.copytree(ROOT, folder, ignore=hidden)
    return folder


@pytest.fixture(scope='session')
def built_wheel(checkout: Path, build_wheel: Callable[[Path, Path], Path],
                tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the checkout, in which an earlier build left a file."""
    stale = checkout / 'build/lib/amt_mm/.mim/configs/stale.py'
    stale.parent.mkdir(parents=True)
    stale.touch()
    return build_wheel(checkout, tmp_path_factory.mktemp('wheel'))


@pytest.fixture
def tiny_arch() -> dict:
    """A ViT of 2 layers, 4 heads and 32 dimensions."""
    return dict(
        embed_dims=32, num_layers=2, num_heads=4, feedforward_channels=64)


@pytest.fixture(scope='session')
def jpeg_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight random JPEGs of different sizes, two in a folder below."""
    root = tmp_path_factory.mktemp('jpegs')
    (root / 'below').mkdir()
    rng = np.random.default_rng(0)
    for i in range(8):
        blocks = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        folder = root / 'below' if i > 5 else root
        Image.fromarray(blocks).resize((40 + 3 * i, 48)).save(
            folder / f'{i}.jpg')
    return root


@pytest.fixture(scope='session')
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of the demo in small: 22 images of 64 px to train, 8 others."""
    return write_demo_data(
        tmp_path_factory.mktemp('demo'), num_train=22, num_val=8,
        image_size=64)


@pytest.fixture(scope='session')
def real_data() -> Path:
    """Folder of real image archives; skips where there is none."""
    path = Path(os.environ.get('AMT_MM_DATA', SHARED))
    if not path.is_dir():
        pytest.skip(f'no real images at {path}; set AMT_MM_DATA')
    return path


@pytest.fixture(scope='session')
def unpack(real_data: Path,
           tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Unpack an archive of real images by its name, once."""
    done: dict[str, Path] = {}

    def extract(name: str) -> Path:
        if name not in done:
            root = tmp_path_factory.mktemp(name)
            with tarfile.open(real_data / f'{name}.tar.xz', 'r:xz') as tar:
                tar.extractall(root, filter='data')
            done[name] = root / name
        return done[name]

    return extract
