"""Which versions of OpenMMLab's packages are supported, and what torch has."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

# import name -> supported range; the lowest version is the tested one
SUPPORTED = {
    'mmengine': '>=0.10.12,<1.0.0',
    'mmpretrain': '>=1.3.6,<2.0.0',
}

# a number, or that of a distribution, as mmengine's families have it
_VERSION = re.compile(
    r"""^__version__\s*=\s*(?:['"](?P<number>[^'"]+)['"]"""
    r"""|version\(['"](?P<distribution>[^'"]+)['"]\))""", re.MULTILINE)


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
    both = [d for d in distributions_of(name) if metadata_version(d)]
    if len(both) > 1:
        remedy = (f'{" and ".join(both)} overwrite each other: uninstall '
                  f'both, and {remedy}')
    return f'{wanted}, but version {found} is installed: {remedy}'


def installed_version(name: str) -> str | None:
    """Return the version of the module that an import finds.

    The module is not imported. Two distributions share its name, and where
    both are installed the metadata of either may be that of files which the
    other has overwritten: so its own ``version.py`` is read.
    """
    spec = find_spec(name)
    if spec is None or not spec.origin:
        return None
    file = Path(spec.origin).with_name('version.py')
    said = _VERSION.search(file.read_text()) if file.is_file() else None
    if said:
        return said['number'] or metadata_version(said['distribution'])
    return next(filter(None, map(
        metadata_version, distributions_of(name))), None)


def distributions_of(name: str) -> tuple[str, str]:
    """Return the maintained continuation of a package, and the original."""
    return f'onedl-{name}', name


def metadata_version(distribution: str) -> str | None:
    """Return the version of a distribution, None if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


# ---- what not every supported torch or mmengine has; torch is imported late,
# as importing the package is to be light


@contextmanager
def safe_globals(allowed: Iterable[Any], only: bool = False) -> Iterator[None]:
    """Let ``torch.load(weights_only=True)`` take what is allowed as well.

    torch before 2.6 takes no such list with names: it reads tensors and plain
    data, and refuses the rest.

    Args:
        allowed (iterable): Classes, functions, and (object, name).
        only (bool): Whether what others allowed is left out meanwhile.
            Defaults to False.
    """
    from torch import serialization
    if not hasattr(serialization, 'get_unsafe_globals_in_checkpoint'):
        yield
        return
    others = serialization.get_safe_globals() if only else []
    if only:
        serialization.clear_safe_globals()
    try:
        with serialization.safe_globals(list(allowed)):
            yield
    finally:
        serialization.add_safe_globals(others)


def mmengine_safe_globals() -> list[Any]:
    """Return what mmengine allows a checkpoint to hold; of old, nothing."""
    from mmengine.runner import checkpoint
    return list(getattr(checkpoint, 'get_torch_safe_globals', list)())


def inductor_error() -> type[Exception]:
    """Return the class of what inductor raises where it cannot compile."""
    from torch import _dynamo, _inductor
    return getattr(_inductor.exc, 'InductorError',
                   _dynamo.exc.BackendCompilerFailed)


def computes_bfloat16() -> bool:
    """Whether the CUDA device computes in bfloat16, not merely emulates it."""
    from torch.cuda import is_bf16_supported
    # torch that cannot leave out emulation does not count it
    known = inspect.signature(is_bf16_supported).parameters
    name = 'including_emulation'
    return is_bf16_supported(**{name: False} if name in known else {})
