"""One family of OpenMMLab's packages, in its versions, and a light import."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

import pytest

from amt_mm import families
from amt_mm.families import FAMILIES, Package, find_package, find_problem

ROOT = Path(families.__file__).parent.parent
LOWEST = {
    'onedl-': dict(mmengine='0.10.12', mmcv='2.3.6', mmpretrain='1.3.6'),
    '': dict(mmengine='0.10.7', mmcv='2.1.0', mmpretrain='1.2.0'),
}


def run(code, *args):
    return subprocess.run([sys.executable, '-c', code, *args], cwd=ROOT,
                          capture_output=True, text=True)


def found(family, **changes):
    """Return the lowest versions of a family, but for some changes."""
    return {name: version and Package(family + name, version)
            for name, version in {**LOWEST[family], **changes}.items()}


@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('changes', [
    {}, dict(mmengine='0.11.0+local'), dict(mmengine='0.99rc1')])
def test_versions_within_the_range(family, changes):
    assert find_problem(found(family, **changes)) is None


@pytest.mark.parametrize(('family', 'name', 'version'), [
    ('onedl-', 'mmengine', '0.10.11'), ('onedl-', 'mmpretrain', '2.0.0'),
    ('onedl-', 'mmcv', '2.4.0'), ('', 'mmengine', '0.10.6'),
    ('', 'mmcv', '2.2.0'), ('', 'mmpretrain', '1.1.1')])
def test_other_versions_are_refused(family, name, version):
    assert find_problem(found(family, **{name: version})) == (
        f'amt_mm needs {family}{name}{FAMILIES[family][name]}, but version '
        f'{version} is installed: {families.REMEDIES[family]}.')
    assert families.REMEDIES[family].endswith(
        '"amt_mm[pretrain]"`' if family else
        '"mmcv-lite>=2.1.0,<2.2.0" "mmpretrain>=1.2.0,<2.0.0"`')


@pytest.mark.parametrize('listed', [None, 'onedl-mmcv'])
def test_missing_package_is_named(listed, monkeypatch):
    monkeypatch.setattr(families, 'metadata_version',
                        lambda name: '2.3.6' if name == listed else None)
    gone = listed and (f'files of {listed} are overwritten or gone, so '
                       'uninstall these and ')
    for family in FAMILIES:
        assert find_problem(found(family, mmcv=None)) == (
            f'amt_mm needs {family}mmcv{FAMILIES[family]["mmcv"]}, but it is '
            f'not installed: {gone or ""}{families.REMEDIES[family]}.')


def test_mixed_families_are_named():
    both = {**found('onedl-'), 'mmpretrain': found('')['mmpretrain']}
    assert find_problem(both) == (
        'amt_mm needs OpenMMLab packages of one family, but mmengine is that '
        'of onedl-mmengine 0.10.12, mmcv is that of onedl-mmcv 2.3.6, '
        'mmpretrain is that of mmpretrain 1.2.0: uninstall these and install '
        'with `pip install "amt_mm[pretrain]"`.')
    assert 'mmdet is that of mmdet 3.3.0' in find_problem(
        {**found('onedl-'), 'mmdet': Package('mmdet', '3.3.0')})


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a package and the metadata of distributions first on the path."""

    def put(name, source, **numbers):
        (tmp_path / name).mkdir()
        (tmp_path / name / '__init__.py').touch()
        if source is not None:
            (tmp_path / name / 'version.py').write_text(source)
        for distribution, number in numbers.items():
            info = tmp_path / f'{distribution}-{number}.dist-info'
            info.mkdir()
            (info / 'METADATA').write_text(
                f'Name: {distribution}\nVersion: {number}\n')
        monkeypatch.syspath_prepend(tmp_path)

    return put


@pytest.mark.parametrize(('source', 'package'), [
    ("# Copyright\n__version__ = '0.10.7'\nshort_version = '0'\n",
     Package('mmtoy', '0.10.7')),
    ('from importlib.metadata import version\n'
     "__version__ = version('onedl-mmtoy')\n",
     Package('onedl-mmtoy', '0.10.12')),
    (None, Package('onedl-mmtoy', '0.10.12'))])
def test_files_belong_to_the_last_installed(install, source, package):
    """Of two families in one environment, the last installed is imported."""
    install('mmtoy', source, onedl_mmtoy='0.10.12', mmtoy='0.10.7')
    assert find_package('mmtoy') == package
    install('other', None, onedl_mmnone='0.10.12')  # metadata alone
    assert find_package('mmnone') is None


def test_both_families_are_named_where_the_wrong_one_is_imported(install):
    install('mmtoy', None, onedl_mmengine='0.10.12', mmengine='0.10.4')
    problem = find_problem(found('', mmengine='0.10.4'))
    assert problem and ('version 0.10.4 is installed: files of onedl-mmengine '
                        'and mmengine are overwritten or gone, so '
                        'uninstall these and install with' in problem)


def test_range_is_that_of_the_extra():
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')
    extra = config['options.extras_require']['pretrain'].split()
    for name, supported in FAMILIES['onedl-'].items():
        assert f'onedl-{name}{supported}' in extra


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


def test_no_module_needs_what_only_new_torch_has(tmp_path):
    """All can be imported, and a checkpoint still executes nothing."""
    done = run(OLD_STACK, tmp_path / 'weights.pth', tmp_path / 'code.pth')
    lines = done.stdout.splitlines()[-3:]  # other packages print theirs
    assert len(lines) == 3, done.stderr
    assert all('inspect.Signature' in line for line in lines)


def test_import_is_light():
    done = run(
        'import sys, amt_mm\n'
        'heavy = {"torch", "mmcv", "mmengine", "mmpretrain"}\n'
        'print(heavy & set(sys.modules))'
    )
    assert (done.stdout.strip(), done.stderr) == ('set()', '')


def test_reason_is_seen_where_mmengine_hides_the_error():
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
