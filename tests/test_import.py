from __future__ import annotations

import configparser
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from amt_mm import families
from amt_mm.families import FAMILIES, Package, find_package, find_problem

ROOT = Path(families.__file__).parent.parent
LOWEST = {
    'onedl-': dict(mmengine='0.10.12', mmcv='2.3.6', mmpretrain='1.3.6'),
    '': dict(mmengine='0.10.7', mmcv='2.1.0', mmpretrain='1.2.0'),
}


def run(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-c', code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def found(family: str, **changes: str | None) -> dict[str, Package | None]:
    """Return the lowest versions of a family, but for some changes."""
    return {name: version and Package(family + name, version)
            for name, version in {**LOWEST[family], **changes}.items()}


@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize(
    'changes', [{}, dict(mmengine='0.11.0+local'), dict(mmengine='0.99')])
def test_versions_within_the_range(
    family: str, changes: dict[str, str]
) -> None:
    assert find_problem(found(family, **changes)) is None


def test_a_pre_release_is_in_the_range() -> None:
    assert not find_problem(found('onedl-', mmengine='0.10.13rc1'))


@pytest.mark.parametrize(('family', 'name', 'version'), [
    ('onedl-', 'mmengine', '0.10.11'), ('onedl-', 'mmengine', '1.0.0'),
    ('onedl-', 'mmpretrain', '2.0.0'), ('onedl-', 'mmcv', '2.4.0'),
    ('', 'mmengine', '0.10.6'), ('', 'mmcv', '2.2.0'),
    ('', 'mmpretrain', '1.1.1')])
def test_other_versions_are_refused(
    family: str, name: str, version: str
) -> None:
    problem = find_problem(found(family, **{name: version}))
    remedy = 'install with `pip install "' + (
        'amt_mm[pretrain]"`.' if family else
        'mmengine>=0.10.7,<1.0.0" "mmcv-lite>=2.1.0,<2.2.0" '
        '"mmpretrain>=1.2.0,<2.0.0"`.')
    assert problem and problem.startswith(
        f'amt_mm needs {family}{name}{FAMILIES[family][name]}, but version '
        f'{version} is installed: ')
    assert problem.endswith(remedy)


@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('listed', [None, 'onedl-mmcv'])
def test_missing_package_is_named(
    family: str, listed: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(families, 'metadata_version',
                        lambda name: '2.3.6' if name == listed else None)
    gone = listed and (f'files of {listed} are overwritten or gone, so '
                       'uninstall these and ')
    assert find_problem(found(family, mmcv=None)) == (
        f'amt_mm needs {family}mmcv{FAMILIES[family]["mmcv"]}, but it is not '
        f'installed: {gone or ""}{families.REMEDIES[family]}.')


def test_mixed_families_are_named() -> None:
    both = {**found(''), **found('onedl-', mmengine='0.10.12')}
    both['mmpretrain'] = found('')['mmpretrain']
    assert find_problem(both) == (
        'amt_mm needs OpenMMLab packages of one family, but mmengine is that '
        'of onedl-mmengine 0.10.12, mmcv is that of onedl-mmcv 2.3.6, '
        'mmpretrain is that of mmpretrain 1.2.0: uninstall these and install '
        'with `pip install "amt_mm[pretrain]"`.')
    assert 'mmdet is that of mmdet 3.3.0' in find_problem(
        {**found('onedl-'), 'mmdet': Package('mmdet', '3.3.0')})


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


@pytest.mark.parametrize(('source', 'package'), [
    (LITERAL, Package('mmtoy', '0.10.7')),
    (LOOKED_UP, Package('onedl-mmtoy', '0.10.12')),
    (None, Package('onedl-mmtoy', '0.10.12'))])
def test_files_belong_to_the_last_installed(
    install: Callable, source: str | None, package: Package
) -> None:
    """Of two families in one environment, the last installed is imported."""
    install('mmtoy', source, **BOTH)
    assert find_package('mmtoy') == package


def test_both_families_are_named_where_the_wrong_one_is_imported(
    install: Callable
) -> None:
    install('mmtoy', None, onedl_mmengine='0.10.12', mmengine='0.10.4')
    problem = find_problem(found('', mmengine='0.10.4'))
    assert problem and ('version 0.10.4 is installed: files of onedl-mmengine '
                        'and mmengine are overwritten or gone, so '
                        'uninstall these and install with' in problem)


def test_metadata_without_a_module_is_no_package(
    tmp_path: Path, install: Callable
) -> None:
    install('other', None, onedl_mmtoy='0.10.12')
    assert find_package('mmtoy') is None


def test_range_is_that_of_the_extra() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')
    extra = config['options.extras_require']['pretrain'].split()
    for name, supported in FAMILIES['onedl-'].items():
        assert f'onedl-{name}{supported}' in extra
    for family, versions in LOWEST.items():
        assert all(f'>={versions[name]},' in supported
                   for name, supported in FAMILIES[family].items())


OLD_STACK = """
import inspect, pkgutil, sys
import numpy as np
import torch
import torch._inductor.exc
from mmengine.runner import checkpoint
from torch import serialization

# torch 2.1 and mmengine 0.10.7 have none of these
for name in ('add_safe_globals', 'clear_safe_globals', 'get_safe_globals',
             'safe_globals', 'get_unsafe_globals_in_checkpoint'):
    vars(serialization).pop(name, None)
vars(torch._inductor.exc).pop('InductorError', None)
vars(checkpoint).pop('get_torch_safe_globals', None)
torch.cuda.is_bf16_supported = lambda: False

import amt_mm
for module in pkgutil.walk_packages(amt_mm.__path__, 'amt_mm.'):
    # the metric of LVIS is mmdet's, which needs mmcv's operators
    if not module.name.endswith(('.mim', 'lvis_metric')):
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
        'import importlib.util as util\n'
        'from mmengine.registry import MODELS\n'
        'real = util.find_spec\n'
        'def fake(name, *args):\n'
        '    return None if name == "mmpretrain" else real(name, *args)\n'
        'util.find_spec = fake\n'
        'with MODELS.switch_scope_and_registry("amt_mm"): pass'
    )
    assert 'but it is not installed: ' in done.stderr
