"""Train for two epochs through the mim command, as a user would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image
from tool_process import run_tool

import amt_mm
from amt_mm.families import metadata_version

ROOT = Path(amt_mm.__file__).parent.parent
CONFIG = 'mae_amt_vit-b_400e_in1k.py'

pytestmark = pytest.mark.mim

# The config as it is, at a size for one CPU: 16 patches, 2 layers, 2 epochs
# with a refresh of the saliency between them. Mixed precision needs a GPU.
SMALL = """
    train_cfg.max_epochs=2 param_scheduler.0.end=1 param_scheduler.1.begin=1
    custom_hooks.1.interval=1
    train_dataloader.dataset.data_root=images
    train_dataloader.batch_size=4 train_dataloader.num_workers=1
    train_dataloader.dataset.pipeline.2.scale=32
    train_dataloader.dataset.pipeline.4.input_size=32
    train_dataloader.dataset.pipeline.4.patch_size=8
    model.backbone.arch._delete_=True
    model.backbone.arch.embed_dims=32 model.backbone.arch.num_layers=2
    model.backbone.arch.num_heads=2
    model.backbone.arch.feedforward_channels=64
    model.backbone.img_size=32 model.backbone.patch_size=8
    model.neck.num_patches=16 model.neck.patch_size=8 model.neck.embed_dim=32
    model.neck.decoder_embed_dim=32 model.neck.decoder_depth=1
    model.neck.decoder_num_heads=2 model.head.patch_size=8
    optim_wrapper._delete_=True optim_wrapper.optimizer.type=AdamW
    optim_wrapper.optimizer.lr=1e-3
""".split()

Train = Callable[..., CompletedProcess[str]]


@pytest.fixture(autouse=True)
def _images(tmp_path: Path) -> None:
    """Write eight images in the layout of ImageNet, with their list."""
    noise = np.random.default_rng(0)
    names = [f'n0144076{index % 2}/{index}.JPEG' for index in range(8)]
    for name in names:
        path = tmp_path / 'images/train' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = noise.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    (tmp_path / 'images/meta').mkdir()
    lines = [f'{name} {index % 2}\n' for index, name in enumerate(names)]
    (tmp_path / 'images/meta/train.txt').write_text(''.join(lines))


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """Return a function that trains by the mim command."""

    def run(package: str, config: str | Path,
            launch: tuple[str, ...] = ('--gpus', '0'),
            **environ: str) -> CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, '-c', 'from mim.cli import cli; cli()', 'train',
             package, config, *launch, '--work-dir', 'run', '--cfg-options',
             *SMALL],
            cwd=tmp_path, env={**os.environ, **environ}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    return run


def assert_trained(done: CompletedProcess[str], folder: Path) -> None:
    assert done.returncode == 0, done.stdout
    assert 'Training finished successfully.' in done.stdout
    assert (folder / 'run/epoch_2.pth').exists()


# each finds by name what the other does not, an editable install or a wheel
OPENMIM = metadata_version('openmim') is not None
by_name = pytest.mark.skipif(
    OPENMIM, reason='openmim looks for an editable install in site-packages')


@pytest.fixture(scope='module')
def site_packages(
    built_wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with amt_mm installed from a wheel."""
    target = tmp_path_factory.mktemp('site') / 'site-packages'
    subprocess.run(
        [sys.executable, '-m', 'pip', 'install', '--no-deps', '--no-index',
         '--target', str(target), str(built_wheel)], check=True)
    return target


@by_name
def test_editable_amt_mm_by_name_in_two_processes(
        train: Train, tmp_path: Path) -> None:
    # setuptools leaves an amt_mm.egg-info in the checkout, which has none
    texts = [found.read_text('direct_url.json') or ''
             for found in distributions(name='amt_mm')]
    assert any(re.search('"editable": ?true', text) for text in texts), \
        'run `make test`'
    launch = '--gpus', '2', '--launcher', 'pytorch'
    done = train('amt_mm', CONFIG, launch)
    if 'multiple config files' in done.stdout:
        pytest.skip('the checkout holds runs or builds with the same config')
    assert_trained(done, tmp_path)
    assert 'effective batch size 8,' in done.stdout


def test_wheel_mmpretrain(
        train: Train, site_packages: Path, tmp_path: Path) -> None:
    done = train('mmpretrain', site_packages / 'amt_mm/.mim/configs' / CONFIG,
                 PYTHONPATH=str(site_packages))
    assert_trained(done, tmp_path)


def test_wheel_without_mim(site_packages: Path, tmp_path: Path) -> None:
    """The tools in it train the configs in it, in either family."""
    package = site_packages / 'amt_mm'
    environ = dict(os.environ, PYTHONPATH=str(site_packages))
    where = tmp_path / 'where.py'
    where.write_text('import amt_mm; print(amt_mm.__file__)')
    found = run_tool([str(where)], environ).stdout
    assert Path(found.strip()).parent == package
    for command in (
            ['.mim/tools/train.py', str(package / '.mim/configs' / CONFIG),
             '--work-dir', 'run', '--cfg-options', *SMALL],
            ['__main__.py', 'pretrain', 'out=call', 'data=images/train',
             'model=vit-tiny', 'image_size=32', 'epochs=1', 'batch_size=4',
             'workers=0']):
        done = run_tool([str(package / command[0]), *command[1:]], environ,
                        tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / 'run/epoch_2.pth').exists()
    assert (tmp_path / 'call/checkpoints/epoch_1.pth').exists()
    assert {'config.py', 'exported', 'metrics.jsonl', 'report.html'} <= {
        path.name for path in (tmp_path / 'call').iterdir()}


def test_wheel_amt_mm(
        train: Train, site_packages: Path, tmp_path: Path) -> None:
    """A limit of onedl-mim: when this fails, docs/how_to.md can say it works.

    It takes the first folder of RECORD for the package; pip sorts RECORD, and
    `amt_mm-*.dist-info` comes before `amt_mm/`. openmim asks pkg_resources.
    """
    done = train('amt_mm', site_packages / 'amt_mm/.mim/configs' / CONFIG,
                 PYTHONPATH=str(site_packages))
    if OPENMIM:
        assert_trained(done, tmp_path)
        return
    assert done.returncode == 1
    script = f'amt_mm-{amt_mm.__version__}.dist-info/tools/train.py'
    assert script in done.stdout
