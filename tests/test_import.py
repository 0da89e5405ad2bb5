from __future__ import annotations

import configparser
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from amt_mm import compatibility

ROOT = Path(compatibility.__file__).parent.parent
VERSIONS = {'mmengine': '0.10.12', 'mmpretrain': '1.3.6'}


def run(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-c', code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """The versions that are found, to be changed by a test."""
    found: dict[str, str | None] = dict(VERSIONS)
    monkeypatch.setattr(compatibility, 'installed_version', found.get)
    return found


def test_tested_versions_are_supported(
    versions: dict[str, str | None],
) -> None:
    compatibility.check_installed()


@pytest.mark.parametrize(
    ('name', 'version'),
    [
        ('mmengine', '0.10.11'),
        ('mmengine', '1.0.0'),
        ('mmpretrain', '1.2.0'),
        ('mmpretrain', '2.0.0'),
    ],
)
def test_other_versions_are_refused(
    versions: dict[str, str | None], name: str, version: str
) -> None:
    versions[name] = version
    with pytest.raises(ImportError) as caught:
        compatibility.check_installed()
    supported = compatibility.SUPPORTED[name]
    assert str(caught.value) == (
        f'amt_mm needs {name}{supported}, but version {version} is '
        f'installed: install it with `pip install "onedl-{name}{supported}"`.'
    )


@pytest.mark.parametrize('version', ['0.10.13rc1', '0.11.0+local', '0.99'])
def test_versions_within_the_range(
    versions: dict[str, str | None], version: str
) -> None:
    versions['mmengine'] = version
    compatibility.check_installed()


def test_missing_package_is_named(versions: dict[str, str | None]) -> None:
    versions['mmpretrain'] = None
    sentence = r'amt_mm needs mmpretrain>=.*, but it is not installed: '
    with pytest.raises(ImportError, match=sentence):
        compatibility.check_installed()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Put a package and the metadata of distributions first on the path."""

    def put(name: str, source: str | None, **numbers: str) -> None:
        package = tmp_path / name
        package.mkdir()
        (package / '__init__.py').touch()
        if source is not None:
            (package / 'version.py').write_text(source)
        for distribution, number in numbers.items():
            info = tmp_path / f'{distribution}-{number}.dist-info'
            info.mkdir()
            (info / 'METADATA').write_text(
                f'Name: {distribution}\nVersion: {number}\n')
        monkeypatch.syspath_prepend(tmp_path)

    return put


BOTH = {'onedl_mmtoy': '0.10.12', 'mmtoy': '0.10.7'}
LITERAL = "# Copyright\n__version__ = '0.10.7'\nshort_version = '0'\n"
LOOKED_UP = ('from importlib.metadata import version\n'
             "__version__ = version('onedl-mmtoy')\n")


@pytest.mark.parametrize(('source', 'number'), [
    (LITERAL, '0.10.7'), (LOOKED_UP, '0.10.12'), (None, '0.10.12')])
def test_the_version_is_that_of_the_module(
    install: Callable, source: str | None, number: str
) -> None:
    """Of two families in one environment, the last installed is imported."""
    install('mmtoy', source, **BOTH)
    assert compatibility.installed_version('mmtoy') == number
    problem = compatibility.find_problem('mmtoy', '>=0.10.12')
    assert (problem is None) is (number == '0.10.12')
    if problem:
        assert 'version 0.10.7 is installed: onedl-mmtoy and mmtoy ' \
            'overwrite each other: uninstall both, and install' in problem


def test_metadata_without_a_module_is_no_package(
    tmp_path: Path, install: Callable
) -> None:
    install('other', None, onedl_mmtoy='0.10.12')
    assert compatibility.installed_version('mmtoy') is None


def test_range_is_that_of_the_extra() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')
    extra = config['options.extras_require']['pretrain'].split()
    for name, supported in compatibility.SUPPORTED.items():
        assert f'onedl-{name}{supported}' in extra


OLD_STACK = """
import inspect, pkgutil, sys
import numpy as np
import torch
import torch._inductor.exc
from mmengine.runner import checkpoint
from torch import serialization

# torch 2.1 and mmengine 0.10.7 have none of these
for name in ('add', 'clear', 'get'):
    delattr(serialization, f'{name}_safe_globals')
del serialization.safe_globals, serialization.get_unsafe_globals_in_checkpoint
del torch._inductor.exc.InductorError, checkpoint.get_torch_safe_globals
torch.cuda.is_bf16_supported = lambda: False

import amt_mm
for module in pkgutil.walk_packages(amt_mm.__path__, 'amt_mm.'):
    if '.mim' not in module.name:
        __import__(module.name)

from amt_mm.compatibility import computes_bfloat16
from amt_mm.weights import (
    check_checkpoint, read_state_dict, weights_only_loading)
assert computes_bfloat16() is False
weights, code = sys.argv[1:]
torch.save(dict(state_dict=dict(w=torch.ones(2))), weights)
torch.save(dict(state_dict=dict(w=torch.ones(2)), hook=inspect.Signature()),
           code)
with weights_only_loading(weights):
    assert torch.equal(read_state_dict(weights)['w'], torch.ones(2))
for read in (check_checkpoint, read_state_dict):
    try:
        read(code)
    except ValueError as error:
        print(error)
try:
    with weights_only_loading():
        torch.load(code, weights_only=False)
except ValueError as error:
    print(error)
"""


def test_no_module_needs_what_only_new_torch_has(tmp_path: Path) -> None:
    """All can be imported, and a checkpoint still executes nothing."""
    done = subprocess.run(
        [sys.executable, '-c', OLD_STACK, tmp_path / 'weights.pth',
         tmp_path / 'code.pth'], cwd=ROOT, capture_output=True, text=True)
    lines = done.stdout.splitlines()[-3:]  # other packages print theirs
    assert len(lines) == 3, done.stderr
    assert all('inspect.Signature' in line for line in lines)


def test_import_is_light() -> None:
    done = run(
        'import sys, amt_mm\n'
        'heavy = {"torch", "mmcv", "mmengine", "mmpretrain"}\n'
        'print(heavy & set(sys.modules))'
    )
    assert (done.stdout.strip(), done.stderr) == ('set()', '')


def test_scope_is_found_by_mmengine() -> None:
    done = run(
        'from mmengine.registry import MODELS\n'
        'with MODELS.switch_scope_and_registry("amt_mm") as registry:\n'
        '    print(registry.scope)'
    )
    assert done.stdout.strip() == 'amt_mm', done.stderr


def test_reason_is_seen_where_mmengine_hides_the_error() -> None:
    done = run(
        'import importlib.metadata as metadata\n'
        'from mmengine.registry import MODELS\n'
        'real = metadata.version\n'
        'def fake(name):\n'
        '    return "9.9" if name == "onedl-mmpretrain" else real(name)\n'
        'metadata.version = fake\n'
        'with MODELS.switch_scope_and_registry("amt_mm"): pass'
    )
    assert 'but version 9.9 is installed: install it with' in done.stderr
