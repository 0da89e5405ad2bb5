"""What is in the wheel, and that a source distribution makes the same."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

import amt_mm

ROOT = Path(amt_mm.__file__).parent.parent
SHIPPED = ('configs', 'projects', 'tools')


@pytest.fixture
def wheel(built_wheel: Path) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(built_wheel) as file:
        yield file


@pytest.fixture
def metadata(wheel: zipfile.ZipFile) -> Message:
    name = f'amt_mm-{amt_mm.__version__}.dist-info/METADATA'
    return Parser().parsestr(wheel.read(name).decode())


def shipped_files(root: Path) -> set[str]:
    """What of a checkout belongs into `amt_mm/.mim`."""
    files = {
        str(path.relative_to(root))
        for folder in SHIPPED
        for path in (root / folder).rglob('*')
        if path.is_file() and path.suffix != '.pyc'
    }
    return files | {'model-index.yml'}


def test_wheel_holds_the_package_and_what_mim_needs(
        wheel: zipfile.ZipFile, checkout: Path) -> None:
    names = {name for name in wheel.namelist() if not name.endswith('/')}
    assert {name.split('/')[0] for name in names} == {
        'amt_mm', f'amt_mm-{amt_mm.__version__}.dist-info'}
    prefix = 'amt_mm/.mim/'
    assert {name.removeprefix(prefix) for name in names
            if name.startswith(prefix)} == shipped_files(checkout)
    modules = {path.relative_to(ROOT) for path in ROOT.glob('amt_mm/**/*.py')}
    assert {'amt_mm/py.typed', *map(str, modules)} <= names
    page = {f'projects/report/page/page.{end}'
            for end in ('css', 'html', 'js')}
    assert {prefix + name for name in (*page, 'tools/train.py')} <= names
    assert any(name.endswith('licenses/LICENSE') for name in names)


def test_metadata_is_complete_and_requires_nothing_of_openmmlab(
        metadata: Message) -> None:
    assert metadata['Name'] == 'amt_mm'
    assert metadata['Version'] == amt_mm.__version__
    assert metadata['License-Expression'] == 'Apache-2.0'
    assert set(metadata['Requires-Python'].split(',')) == {'>=3.10', '<3.13'}
    assert metadata['Summary'] and metadata.get_payload().strip()
    extras = {'det', 'dev', 'docs', 'export', 'mim', 'onnx', 'pretrain',
              'report', 'seg'}
    assert set(metadata.get_all('Provides-Extra')) == extras
    lines = metadata.get_all('Requires-Dist')
    required = [line for line in lines if 'extra ==' not in line]
    assert 'torch>=2.1.2' in required
    assert not [line for line in required if 'mm' in line or 'onedl' in line]


def test_sdist_builds_the_same_wheel(
    checkout: Path, wheel: zipfile.ZipFile, tmp_path: Path,
    build_wheel: Callable[[Path, Path], Path],
) -> None:
    code = 'import setuptools.build_meta as b, sys; b.build_sdist(sys.argv[1])'
    command = [sys.executable, '-c', code, str(tmp_path)]
    subprocess.run(command, cwd=checkout, check=True, capture_output=True)
    with tarfile.open(next(tmp_path.glob('*.tar.gz'))) as archive:
        archive.extractall(tmp_path, filter='data')
    unpacked = next(path for path in tmp_path.iterdir() if path.is_dir())
    with zipfile.ZipFile(build_wheel(unpacked, tmp_path)) as again:
        assert sorted(again.namelist()) == sorted(wheel.namelist())


def test_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert citation['version'] == amt_mm.__version__
    title = citation['preferred-citation']['title']
    readme = (ROOT / 'README.md').read_text()
    assert title.lower() in readme.lower() and '(CITATION.cff)' in readme


def test_model_index_names_what_is_there() -> None:
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    for metafile in index['Import']:
        models = yaml.safe_load((ROOT / metafile).read_text())['Models']
        for model in models:
            assert (ROOT / model['Config']).is_file()
            assert model['Name'] == Path(model['Config']).stem
