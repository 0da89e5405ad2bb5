"""Train for two epochs through the mim command, as a user would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

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
# with a refresh of the saliency between them.
SMALL = [
    'train_cfg.max_epochs=2',
    'param_scheduler.0.end=1',
    'param_scheduler.1.begin=1',
    'custom_hooks.1.interval=1',
    'train_dataloader.batch_size=4',
    'train_dataloader.num_workers=1',
    'train_dataloader.dataset.pipeline.2.scale=32',
    'train_dataloader.dataset.pipeline.4.input_size=32',
    'train_dataloader.dataset.pipeline.4.patch_size=8',
    'model.backbone.arch._delete_=True',
    'model.backbone.arch.embed_dims=32',
    'model.backbone.arch.num_layers=2',
    'model.backbone.arch.num_heads=2',
    'model.backbone.arch.feedforward_channels=64',
    'model.backbone.img_size=32',
    'model.backbone.patch_size=8',
    'model.neck.num_patches=16',
    'model.neck.patch_size=8',
    'model.neck.embed_dim=32',
    'model.neck.decoder_embed_dim=32',
    'model.neck.decoder_depth=1',
    'model.neck.decoder_num_heads=2',
    'model.head.patch_size=8',
    # Mixed precision needs a GPU.
    'optim_wrapper._delete_=True',
    'optim_wrapper.optimizer.type=AdamW',
    'optim_wrapper.optimizer.lr=1e-3',
]


@dataclass
class Mim:
    """The mim command on one installation of amt_mm.

    Args:
        folder (Path): Where it runs; holds the images.
        configs (Path): The configs of the installation.
        environ (dict): Environment variables.
    """

    folder: Path
    configs: Path
    environ: dict[str, str]

    def train(
        self, package: str, config: str, *launch: str
    ) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable, '-c', 'from mim.cli import cli; cli()', 'train',
            package, config, *(launch or ('--gpus', '0')),
            '--work-dir', package,
            '--cfg-options', 'train_dataloader.dataset.data_root=images',
            *SMALL,
        ]  # fmt: skip
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def write_images(folder: Path) -> None:
    """Write eight images in the layout of ImageNet, with their list."""
    noise = np.random.default_rng(0)
    names = [f'n0144076{index % 2}/{index}.JPEG' for index in range(8)]
    for name in names:
        path = folder / 'train' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = noise.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    (folder / 'meta').mkdir()
    lines = [f'{name} {index % 2}\n' for index, name in enumerate(names)]
    (folder / 'meta/train.txt').write_text(''.join(lines))


def assert_trained(
    done: subprocess.CompletedProcess[str], work_dir: Path
) -> None:
    assert done.returncode == 0, done.stdout
    assert 'Training finished successfully.' in done.stdout
    assert (work_dir / 'epoch_2.pth').exists()


# each finds by name what the other does not, an editable install or a wheel
OPENMIM = metadata_version('openmim') is not None
by_name = pytest.mark.skipif(
    OPENMIM, reason='openmim looks for an editable install in site-packages')


@pytest.fixture
def editable(tmp_path: Path) -> Mim:
    # setuptools leaves an amt_mm.egg-info in the checkout, which has none
    texts = [found.read_text('direct_url.json') or ''
             for found in distributions(name='amt_mm')]
    assert any(re.search('"editable": ?true', text) for text in texts), \
        'run `make test`'
    write_images(tmp_path / 'images')
    return Mim(tmp_path, ROOT / 'configs', dict(os.environ))


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


@pytest.fixture
def installed(tmp_path: Path, site_packages: Path) -> Mim:
    write_images(tmp_path / 'images')
    environ = dict(os.environ, PYTHONPATH=str(site_packages))
    code = 'import amt_mm; print(amt_mm.__file__)'
    where = subprocess.check_output(
        [sys.executable, '-c', code], cwd=tmp_path, env=environ, text=True
    )
    assert Path(where).is_relative_to(site_packages)
    return Mim(tmp_path, site_packages / 'amt_mm/.mim/configs', environ)


@by_name
def test_editable_amt_mm_by_name_in_two_processes(editable: Mim) -> None:
    launch = '--gpus', '2', '--launcher', 'pytorch'
    done = editable.train('amt_mm', CONFIG, *launch)
    if 'multiple config files' in done.stdout:
        pytest.skip('the checkout holds runs or builds with the same config')
    assert_trained(done, editable.folder / 'amt_mm')
    assert 'effective batch size 8,' in done.stdout


def test_wheel_mmpretrain(installed: Mim) -> None:
    done = installed.train('mmpretrain', str(installed.configs / CONFIG))
    assert_trained(done, installed.folder / 'mmpretrain')


def test_wheel_without_mim(installed: Mim) -> None:
    """The tools in it train the configs in it, in either family."""
    package = installed.configs.parents[1]
    where = installed.folder / 'where.py'
    where.write_text('import amt_mm; print(amt_mm.__file__)')
    found = run_tool([str(where)], installed.environ).stdout
    assert Path(found.strip()).parent == package
    command = [
        str(package / '.mim/tools/train.py'), str(installed.configs / CONFIG),
        '--work-dir', 'run', '--cfg-options',
        'train_dataloader.dataset.data_root=images', *SMALL]
    done = run_tool(command, installed.environ, installed.folder)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (installed.folder / 'run/epoch_2.pth').exists()
    call = [str(package / '__main__.py'), 'pretrain', 'out=call',
            'data=images/train', 'model=vit-tiny', 'image_size=32',
            'epochs=1', 'batch_size=4', 'workers=0']
    done = run_tool(call, installed.environ, installed.folder)
    assert done.returncode == 0, done.stderr[-3000:]
    out = installed.folder / 'call'
    assert (out / 'checkpoints/epoch_1.pth').exists()
    assert {'config.py', 'exported', 'metrics.jsonl', 'report.html'} <= {
        path.name for path in out.iterdir()}


def test_wheel_amt_mm(installed: Mim) -> None:
    """A limit of onedl-mim: when this fails, docs/how_to.md can say it works.

    It takes the first folder of RECORD for the package; pip sorts RECORD, and
    `amt_mm-*.dist-info` comes before `amt_mm/`. openmim asks pkg_resources.
    """
    done = installed.train('amt_mm', str(installed.configs / CONFIG))
    if OPENMIM:
        assert_trained(done, installed.folder / 'amt_mm')
        return
    assert done.returncode == 1
    script = f'amt_mm-{amt_mm.__version__}.dist-info/tools/train.py'
    assert script in done.stdout
