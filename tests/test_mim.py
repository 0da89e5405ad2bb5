"""Train for two epochs through the mim command, as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import amt_mm

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


@pytest.fixture
def editable(tmp_path: Path) -> Mim:
    installed_from = distribution('amt_mm').read_text('direct_url.json')
    assert json.loads(installed_from or '{}').get('dir_info') == {
        'editable': True}, 'run `make test`'
    write_images(tmp_path / 'images')
    return Mim(tmp_path, ROOT / 'configs', dict(os.environ))


@pytest.fixture(scope='module')
def site_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with amt_mm installed from a wheel."""
    folder = tmp_path_factory.mktemp('wheel')
    pip = [sys.executable, '-m', 'pip']
    quiet = ['--no-deps', '--no-index']
    isolation = '--no-build-isolation'
    build = ['wheel', *quiet, isolation, '--wheel-dir', str(folder)]
    # Not built in place: what that leaves behind, mim would find as well.
    source = folder / 'amt_mm'
    names = 'amt_mm configs projects tools model-index.yml setup.py setup.cfg'
    files = [ROOT / name for name in f'{names} pyproject.toml LICENSE'.split()]
    source.mkdir()
    copy = ['cp', '-r', *map(str, files), str(source)]
    subprocess.run(copy, check=True)
    build_done = subprocess.run([*pip, *build, str(source)])
    assert build_done.returncode == 0
    wheel = str(next(folder.glob('*.whl')))
    target = folder / 'site-packages'
    install = ['install', *quiet, '--target', str(target), wheel]
    subprocess.run([*pip, *install], check=True)
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


def test_wheel_amt_mm_is_looked_for_in_the_wrong_folder(
    installed: Mim,
) -> None:
    """A limit of mim's: when this fails, docs/how_to.md can say that it works.

    It takes the first folder of RECORD for the package; pip sorts RECORD, and
    `amt_mm-*.dist-info` comes before `amt_mm/`.
    """
    done = installed.train('amt_mm', str(installed.configs / CONFIG))
    assert done.returncode == 1
    script = f'amt_mm-{amt_mm.__version__}.dist-info/tools/train.py'
    assert script in done.stdout
