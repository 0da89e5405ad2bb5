"""Which packages of OpenMMLab are installed, and whether they will do.

Two families install the same modules: the originals, as ``mmengine``, and
their maintained continuation, as ``onedl-mmengine``. Either will do, alone.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from packaging.specifiers import SpecifierSet

# prefix of the distributions -> module -> range; the lowest versions and the
# highest of the day are tested
FAMILIES = {
    'onedl-': {
        'mmengine': '>=0.10.12,<1.0.0',
        'mmcv': '>=2.3.6,<2.4.0',
        'mmpretrain': '>=1.3.6,<2.0.0',
    },
    '': {
        'mmengine': '>=0.10.7,<1.0.0',
        'mmcv': '>=2.1.0,<2.2.0',
        'mmpretrain': '>=1.2.0,<2.0.0',
    },
}
REMEDIES = {
    'onedl-': 'install with `pip install "amt_mm[pretrain]"`',
    '': 'install with `pip install "mmengine{mmengine}" "mmcv-lite{mmcv}" '
        '"mmpretrain{mmpretrain}"`'.format(**FAMILIES['']),
}

# where the name of the distribution is not that of the module
DISTRIBUTIONS = {
    'mmcv': ('onedl-mmcv', 'mmcv', 'mmcv-lite'),
    'mmdet': ('onedl-mmdetection', 'mmdet'),
    'mmseg': ('onedl-mmsegmentation', 'mmsegmentation'),
}

# a number, or that of a distribution, as the continuation has it
_VERSION = re.compile(
    r"""^__version__\s*=\s*(?:['"](?P<number>[^'"]+)['"]"""
    r"""|version\(['"](?P<distribution>[^'"]+)['"]\))""", re.MULTILINE)


class Package(NamedTuple):
    """A module that an import finds, and whose files it consists of."""

    distribution: str
    version: str

    @property
    def family(self) -> str:
        """The prefix of the distribution."""
        return 'onedl-' if self.distribution.startswith('onedl-') else ''


def check_installed() -> None:
    """Raise ImportError unless one family is there, in its versions."""
    found = {name: find_package(name) for name in FAMILIES[''] | DISTRIBUTIONS}
    problem = find_problem(found)
    if problem:
        # mmengine catches an ImportError while it looks for a scope, and
        # then reports something else: log it where it cannot be lost.
        logging.getLogger('amt_mm').error(problem)
        raise ImportError(problem)


def find_problem(found: Mapping[str, Package | None]) -> str | None:
    """Say in one sentence what is wrong with the packages, if anything."""
    present = {name: p for name, p in found.items() if p}
    families = {package.family for package in present.values()}
    if len(families) > 1:
        owners = ', '.join(f'{name} is that of {p.distribution} {p.version}'
                           for name, p in present.items())
        return (f'amt_mm needs OpenMMLab packages of one family, but '
                f'{owners}: uninstall these and {REMEDIES["onedl-"]}.')
    family = families.pop() if families else 'onedl-'
    for name, wanted in FAMILIES[family].items():
        package, remedy = found[name], REMEDIES[family]
        # A pre-release of a version in the range is in the range.
        if package and SpecifierSet(wanted).contains(
                package.version, prereleases=True):
            continue
        # pip takes what it lists for installed, though its files are gone.
        listed = [d for d in distributions_of(name) if metadata_version(d)]
        if len(listed) > bool(package):
            remedy = (f'files of {" and ".join(listed)} are overwritten or '
                      f'gone, so uninstall these and {remedy}')
        state = f'version {package.version} is' if package else 'it is not'
        return (f'amt_mm needs {family}{name}{wanted}, but {state} installed: '
                f'{remedy}.')
    return None


def find_package(name: str) -> Package | None:
    """Return the version of the module that an import finds, and its owner.

    The module is not imported. The metadata of either family may be that of
    files which the other has overwritten: so ``version.py`` is read.
    """
    spec = find_spec(name)
    if spec is None or not spec.origin:
        return None
    names: Sequence[str] = distributions_of(name)
    file = Path(spec.origin).with_name('version.py')
    said = _VERSION.search(file.read_text()) if file.is_file() else None
    if said and (number := said['number']):
        owner = next((d for d in names if metadata_version(d) == number), name)
        return Package(owner, number)
    if said:
        names = [said['distribution']]
    return next((Package(d, v) for d in names if (v := metadata_version(d))),
                None)


def installed_version(name: str) -> str | None:
    """Return the version of the module that an import finds."""
    package = find_package(name)
    return package.version if package else None


def distributions_of(name: str) -> tuple[str, ...]:
    """Return the distributions that install a module."""
    return DISTRIBUTIONS.get(name, (f'onedl-{name}', name))


def metadata_version(distribution: str) -> str | None:
    """Return the version of a distribution, None if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
