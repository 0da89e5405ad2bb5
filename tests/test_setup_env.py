"""The set-up of `.venv`, with a uv that only writes down its calls."""

from __future__ import annotations

import configparser
import re
import sys
from pathlib import Path

import pytest
from packaging.version import Version

from setup_env import environment
from setup_env.__main__ import ROOT, main, set_up
from setup_env.environment import SetupError, make_environment, run

# In place of uv. `uv venv` makes a Python that can import what the file
# `modules` names, and whose pip makes an empty wheel.
UV = """#!{python} -SE
import os, sys
words = sys.argv[1:]
folder = os.path.dirname(__file__)
with open(folder + '/calls', 'a') as file:
    file.write(' '.join(words) + '\\n')
if words[0] == 'venv':
    os.makedirs(words[-1] + '/bin')
    open(words[-1] + '/pyvenv.cfg', 'w').close()
    os.symlink(folder + '/python', words[-1] + '/bin/python')
sys.exit(os.path.exists(folder + '/broken'))
"""
PYTHON = """#!{python} -SE
import os, sys, zipfile
words = sys.argv[1:]
cache = {cache!r}
if words[0] == '-c' and 'mmcv.ops' not in words[1]:
    exec(words[1])
elif words[0] == '-c':
    sys.exit(os.path.exists(cache + '/broken_ops'))
else:
    with open(cache + '/calls', 'a') as file:
        file.write(' '.join(words) + os.environ['MAX_JOBS'] + '\\n')
    print('no space left')
    if os.path.exists(cache + '/broken_build'):
        sys.exit(3)
    folder = words[words.index('--wheel-dir') + 1]
    zipfile.ZipFile(folder + '/onedl_mmcv-2.3.6-any.whl', 'w').close()
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / 'cache'
    folder.mkdir()
    monkeypatch.setenv('AMT_MM_CACHE', str(folder))
    monkeypatch.setenv('CXX', 'true -O1')
    monkeypatch.setenv('MAX_JOBS', '7')
    for name, text in ((f'uv-{environment.UV}', UV), ('python', PYTHON)):
        (folder / name).write_text(
            text.format(python=sys.executable, cache=str(folder)))
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def checkout(tmp_path: Path, cache: Path) -> Path:
    root = tmp_path / 'checkout'
    (root / 'requirements').mkdir(parents=True)
    (root / 'setup.cfg').write_text('')
    (root / 'requirements/lock.txt').write_text(
        "torch==2.11.0\nnumpy==2.2.6 ; python_version < '3.11'\n")
    (root / 'requirements/mmcv.txt').write_text('# how\nonedl-mmcv==2.3.6\n')
    return root


def calls(cache: Path) -> list[str]:
    """Return what was called for, first and last word, and forget it."""
    file = cache / 'calls'
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    words = [line.split() for line in lines]
    return [f'{line[0]} {Path(line[-1]).name}' for line in words]


def test_only_what_is_not_done_is_done(checkout: Path, cache: Path) -> None:
    assert set_up(checkout, False) == 0
    assert calls(cache) == ['venv .venv', 'pip checkout',
                            'pip onedl-mmcv==2.3.6']
    assert set_up(checkout, False) == 0 and not calls(cache)

    # The tests replace mmcv, and a later demo keeps it.
    assert set_up(checkout, True) == 0
    assert calls(cache) == ['-m onedl-mmcv==2.3.67',
                            'pip onedl_mmcv-2.3.6-any.whl']
    tag = f'cp{sys.version_info[0]}{sys.version_info[1]}'
    key = f'mmcv-2.3.6-{tag}-torch2.11.0-ops'
    assert {p.name for p in cache.glob('mmcv*')} == {key, f'{key}.log'}
    assert set_up(checkout, False) == 0 and not calls(cache)

    (checkout / 'setup.cfg').write_text('[options]')
    (checkout / 'amt_mm.egg-info').mkdir()  # as the build leaves it
    assert set_up(checkout, False) == 0 and calls(cache) == ['pip checkout']
    assert not (checkout / 'amt_mm.egg-info').exists()

    # A new environment has the compiled wheel at once.
    (checkout / '.venv/pyvenv.cfg').rename(checkout / 'old')
    (checkout / '.venv').rename(checkout / 'gone')
    assert set_up(checkout, False) == 0
    assert calls(cache)[-1] == 'pip onedl_mmcv-2.3.6-any.whl'


def test_an_interrupted_set_up_starts_afresh(
    checkout: Path, cache: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr('setup_env.__main__.ROOT', checkout)
    python = make_environment(checkout / '.venv',
                              checkout / 'requirements/lock.txt')
    (cache / 'broken').touch()
    assert main(['demo']) == 1
    assert 'setup: failed to install the tested set of packages' in \
        capsys.readouterr().out
    (cache / 'broken').unlink()
    calls(cache)
    for path in (python, python.parent):
        path.unlink() if path.is_symlink() else path.rmdir()
    assert main(['demo']) == 0
    assert calls(cache)[:2] == ['venv .venv', 'pip checkout']


def test_a_build_that_fails_leaves_no_wheel(
    checkout: Path, cache: Path
) -> None:
    for problem, told in (('broken_build', 'ends with:\nno space left'),
                          ('broken_ops', '`import mmcv.ops` fails')):
        (cache / problem).touch()
        with pytest.raises(SetupError, match=told):
            set_up(checkout, True)
        assert not [*cache.rglob('*.whl')] and not [*cache.glob('tmp*')]
        (cache / problem).unlink()
    # A wheel that cannot be imported is of another machine: built again.
    set_up(checkout, True)
    (checkout / '.venv/amt_mm_mmcv.txt').unlink()
    (cache / 'broken_ops').touch()
    with pytest.raises(SetupError, match='`import mmcv.ops` fails'):
        set_up(checkout, True)
    assert not [*cache.rglob('*.whl')]


def test_a_command_runs_while_mmcv_is_compiled(
    checkout: Path, cache: Path
) -> None:
    for count in (1, 2, 3):  # also where a wheel is there, or installed
        assert set_up(checkout, True, f'echo >> {cache}/done; exit 3') == 3
        assert (cache / 'done').read_text() == '\n' * count
        if count == 1:
            (checkout / '.venv/amt_mm_mmcv.txt').unlink()


def test_what_is_missing_is_named(
    checkout: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SetupError, match=r'1e\+09 GiB of free disk space'):
        environment.check_disk(cache / 'not/there', 1e9)
    monkeypatch.setenv('CXX', 'missing-compiler -O1')
    with pytest.raises(SetupError, match='compiler missing-compiler and'):
        set_up(checkout, True)
    with pytest.raises(SetupError, match=r'the reason is above'):
        run('try', ['false'])
    (checkout / '.venv/amt_mm_setup.txt').unlink()
    (checkout / '.venv/pyvenv.cfg').unlink()
    with pytest.raises(SetupError, match='is no virtual environment'):
        set_up(checkout, False)


def test_uv_uses_the_index_of_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PIP_INDEX_URL', 'file:///mirror')
    assert environment.uv_environ()['UV_DEFAULT_INDEX'] == 'file:///mirror'


def test_the_originals_have_an_environment_of_their_own(
    checkout: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('setup_env.__main__.ROOT', checkout)
    (checkout / 'requirements/original.txt').write_text('torch==2.1.2\n')
    assert main(['original']) == 0
    assert calls(cache) == ['venv .venv-original', 'pip checkout']
    assert main(['original']) == 0 and not calls(cache)


@pytest.mark.parametrize(('name', 'some'), [
    ('lock', {'torch==2.11.0', 'torchvision==0.26.0'}),
    ('original', {'mmengine==0.10.7', 'mmcv-lite==2.1.0', 'mmdet==3.3.0',
                  'mmpretrain==1.2.0', 'mmsegmentation==1.2.2'}),
    ('lowest', {'torch==2.3.0', 'numpy==1.25.0'}),
    ('lowest-original', {'torch==2.1.2', 'mmcv-lite==2.1.0'})])
def test_lock_is_complete(name: str, some: set[str]) -> None:
    lines = (ROOT / f'requirements/{name}.txt').read_text().splitlines()
    pins = [line for line in lines if not line.startswith('#')]
    assert all('==' in pin and '//' not in pin for pin in pins)
    assert some <= {*pins}
    assert not [pin for pin in pins if pin.startswith('opencv-python=')]


@pytest.mark.parametrize(('name', 'extras'), [
    ('lowest', ['pretrain', 'mim', 'export', 'report']),
    ('lowest-original', ['export', 'report'])])
def test_the_lowest_versions_are_those_of_the_package(
    name: str, extras: list[str]
) -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')
    assert config['options']['python_requires'] == environment.PYTHONS
    texts = [config['options']['install_requires'],
             *(config['options.extras_require'][extra] for extra in extras)]
    lines = '\n'.join(texts).split()
    lowest = dict(re.match(r'([\w-]+)>=([\d.]+)', line).groups()
                  for line in lines if line[0] != '#' and '>=' in line)
    pins = dict(re.findall(
        r'^([\w-]+)==([\d.]+)',
        (ROOT / f'requirements/{name}.txt').read_text(), re.M))
    assert len(lowest) > 8
    for package, version in lowest.items():
        assert Version(pins[package]) == Version(version), package


def test_the_container_runs_what_make_demo_runs() -> None:
    text = (ROOT / 'docker/Dockerfile').read_text().replace('\\\n', ' ')
    system, own = re.findall('^RUN (.*)', text, re.M)
    flavour, = re.findall('^ARG FLAVOUR=(.*)', text, re.M)
    line = '\t@$(PYTHON) -m ' + own.replace('${FLAVOUR}', flavour).partition(
        'python3 -m ')[2]
    assert f'demo:\n{line}\n' in (ROOT / 'Makefile').read_text()
    assert {'build-essential', 'python3-dev', 'python3-venv'} <= {
        *system.split()}
    assert re.findall('^COPY (.*)', text, re.M) == ['. .']
    assert re.search(r'^ARG CUDA=([\d.]+)\nFROM nvidia/cuda:\${CUDA}-base-',
                     text, re.M)
