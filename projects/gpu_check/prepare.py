"""Fill .gpu/ with what a machine without network lacks to run gpu_check.py.

    python projects/gpu_check/prepare.py
    python projects/gpu_check/prepare.py --data DIR --to .gpu

The machine has Python 3.12, torch 2.11, torchvision 0.26 and the usual
packages of data science; what it lacks becomes wheels of pure Python, of the
versions in requirements/lock.txt. The archives of images are copied from
--data, by default AMT_MM_DATA.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
# what pre-training imports and the machine does not have
PACKAGES = ('addict', 'mat4py', 'model-index', 'modelindex', 'ordered-set',
            'platformdirs', 'termcolor', 'yapf', 'onedl-mmcv',
            'onedl-mmengine', 'onedl-mmpretrain')
ARCHIVES = 'tiny_imagenet40.tar.xz', 'cifar10.tar.xz'
PHOTOS, NUM_PHOTOS = 'imagenet_native200', 40
PYTHON = dict(python_version='3.12', python_full_version='3.12.3')
MOST = 60 * 2**20


def main() -> None:
    """Fill the folder."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path,
                        default=os.environ.get('AMT_MM_DATA'),
                        help='folder of the archives')
    parser.add_argument('--to', type=Path, default=ROOT / '.gpu')
    args = parser.parse_args()
    shutil.rmtree(args.to, ignore_errors=True)
    args.to.mkdir(parents=True)
    build_wheels(args.to / 'wheels')
    if args.data:
        pack(args.data, args.to)
    size = sum(p.stat().st_size for p in args.to.rglob('*') if p.is_file())
    sys.stdout.write(f'{args.to}: {size / 2**20:.1f} MiB\n')
    if size > MOST:
        raise SystemExit(f'{args.to} must be at most {MOST >> 20} MiB.')


def build_wheels(folder: Path) -> None:
    """Download or build a wheel of each package, none for one platform.

    pip builds onedl-mmcv apart from torch, and so without operators.
    """
    command = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps',
               '--no-cache-dir', '--wheel-dir', str(folder), *pinned()]
    subprocess.run(command, check=True)
    wrong = [wheel.name for wheel in folder.iterdir()
             if not wheel.name.endswith('-none-any.whl')]
    if wrong:
        raise SystemExit(f'wheels must be of pure Python, got {wrong}.')


def pinned() -> list[str]:
    """Return the packages with their versions in the lock files."""
    found = {}
    for name in ('lock', 'mmcv'):
        text = (ROOT / 'requirements' / f'{name}.txt').read_text()
        for line in text.splitlines():
            if not line.strip() or line.startswith('#'):
                continue
            wanted = Requirement(line)
            if not wanted.marker or wanted.marker.evaluate(PYTHON):
                found[wanted.name] = f'{wanted.name}{wanted.specifier}'
    return [found[name] for name in PACKAGES]


def pack(data: Path, folder: Path) -> None:
    """Copy the archives, and some photographs."""
    for name in ARCHIVES:
        shutil.copyfile(data / name, folder / name)
    source = data / f'{PHOTOS}.tar.xz'
    with tarfile.open(source, 'r:xz') as all_of_them, tarfile.open(
            folder / 'photos.tar', 'w') as some:
        members = [m for m in all_of_them if m.name.endswith('.JPEG')]
        for member in members[::len(members) // NUM_PHOTOS]:
            member.name = f'photos/{Path(member.name).name}'
            file = all_of_them.extractfile(member)
            some.addfile(member, file)


if __name__ == '__main__':
    main()
