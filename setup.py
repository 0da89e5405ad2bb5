"""Build hook: ship what is beside the package inside of it, as mim expects."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ('configs', 'projects', 'tools', 'model-index.yml')


class BuildWithMim(build_py):
    """Copy what mim looks for into `amt_mm/.mim` of the build."""

    def run(self) -> None:
        super().run()
        # mim finds an editable install by its checkout, where the originals
        # are. A second copy there would make every config ambiguous to it.
        if not self.editable_mode:
            ship(Path(__file__).parent, Path(self.build_lib, 'amt_mm/.mim'))


def ship(root: Path, target: Path) -> None:
    """Copy the shipped files and folders under root to target, afresh."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in SHIPPED:
        if (root / name).is_dir():
            ignored = shutil.ignore_patterns('__pycache__', '*.py[co]')
            shutil.copytree(root / name, target / name, ignore=ignored)
        else:
            shutil.copy2(root / name, target / name)


setup(cmdclass={'build_py': BuildWithMim})
