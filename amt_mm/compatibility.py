"""Which versions of the OpenMMLab packages are supported."""

from __future__ import annotations

import logging
from importlib.metadata import PackageNotFoundError, version

from packaging.specifiers import SpecifierSet

# import name -> supported range; the lowest version is the tested one
SUPPORTED = {
    'mmengine': '>=0.10.12,<1.0.0',
    'mmpretrain': '>=1.3.6,<2.0.0',
}


def check_installed() -> None:
    """Raise ImportError unless every package is there in its range."""
    for name, supported in SUPPORTED.items():
        problem = find_problem(name, supported)
        if problem:
            # mmengine catches an ImportError while it looks for a scope, and
            # then reports something else: log it where it cannot be lost.
            logging.getLogger('amt_mm').error(problem)
            raise ImportError(problem)


def let_configs_inherit_mmseg() -> None:
    """Let ``_base_ = 'mmseg::...'`` find the maintained continuation too.

    mmengine looks for a distribution ``mmsegmentation``, and takes the name of
    the module where there is none. That of the other packages is the module's.
    """
    from mmengine.config.utils import MODULE2PACKAGE
    try:
        version('mmsegmentation')
    except PackageNotFoundError:
        MODULE2PACKAGE['mmseg'] = 'mmseg'


def find_problem(name: str, supported: str) -> str | None:
    """Say in one sentence what is wrong with a package, if anything."""
    wanted = f'amt_mm needs {name}{supported}'
    remedy = f'install it with `pip install "onedl-{name}{supported}"`.'
    found = installed_version(name)
    if found is None:
        return f'{wanted}, but it is not installed: {remedy}'
    # A pre-release of a version in the range is in the range.
    if SpecifierSet(supported).contains(found, prereleases=True):
        return None
    return f'{wanted}, but version {found} is installed: {remedy}'


def installed_version(name: str) -> str | None:
    """Return the version of a package without importing it.

    The maintained continuation goes by `onedl-` and the same import name.
    """
    for distribution in (f'onedl-{name}', name):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None
