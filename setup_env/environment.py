"""Make a virtual environment from a lock file, with uv."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

# The same range as python_requires in setup.cfg.
OLDEST, BELOW = (3, 10), (3, 13)
PYTHONS = f'>={OLDEST[0]}.{OLDEST[1]},<{BELOW[0]}.{BELOW[1]}'
UV = '0.13.9'
UNFINISHED = 'unfinished'


class SetupError(Exception):
    """A failure that is reported in a sentence, without a traceback."""


def make_environment(
    folder: Path, lock: Path, packages: Sequence[str] = ()
) -> Path:
    """Bring a virtual environment to a lock file; return its interpreter.

    It is made anew if it does not work, or if the last set-up did not come to
    its end. ``packages`` are further arguments of `uv pip install --no-deps`.
    """
    python, stamp = folder / 'bin' / 'python', folder / 'amt_mm_setup.txt'
    digest = hashlib.sha256(lock.read_bytes())
    for package in packages:
        for name in ('setup.cfg', 'setup.py', 'pyproject.toml'):
            if Path(package, name).exists():
                digest.update(Path(package, name).read_bytes())
    # An editable install points to the checkout, which may have moved.
    key = ' '.join([str(folder), *packages, digest.hexdigest()[:16]])
    done = stamp.read_text() if stamp.exists() else ''
    if done == key and python.exists():
        return python
    uv, environ = str(get_uv()), uv_environ()
    if not is_usable(folder) or done == UNFINISHED:
        check_disk(folder, 8)
        own = OLDEST <= sys.version_info[:2] < BELOW
        run(f'make {folder}',
            [uv, 'venv', '--quiet', '--clear', '--python',
             sys.executable if own else PYTHONS, str(folder)], environ)
    stamp.write_text(UNFINISHED)
    # Compiled now, as pip does: what the compiler warns of in the sources of
    # others is over before a test turns warnings into errors.
    run('install the tested set of packages (3 GB to download)',
        [uv, 'pip', 'install', '--python', str(python), '--no-deps',
         '--compile-bytecode', '--build-constraints', str(lock), '-r',
         str(lock), *packages], environ)
    stamp.write_text(key)
    return python


def is_usable(folder: Path) -> bool:
    """Return whether there is an environment that works.

    Raises SetupError if it is something else, or of another Python.
    """
    if folder.exists() and not (folder / 'pyvenv.cfg').exists():
        raise SetupError(
            f'{folder} is in the way: it is no virtual environment. Move it '
            'elsewhere.')
    version = ask(folder / 'bin' / 'python', '"%d.%d" % sys.version_info[:2]')
    if version and not OLDEST <= tuple(map(int, version.split('.'))) < BELOW:
        raise SetupError(
            f'{folder} holds Python {version}, but {PYTHONS} is needed: run '
            '`make clean` and try again.')
    return bool(version)


def get_uv() -> Path:
    """Return uv, which comes from the package index into the cache, once."""
    uv = cache_root() / f'uv-{UV}'
    if not uv.exists():
        with tempfile.TemporaryDirectory(dir=cache_root()) as trial:
            run('make an environment to download uv',
                [sys.executable, '-m', 'venv', trial])
            run('download uv, for which the package index must be reachable',
                [f'{trial}/bin/python', '-m', 'pip', 'install', '--quiet',
                 '--disable-pip-version-check', f'uv=={UV}'])
            os.replace(f'{trial}/bin/uv', uv)
    return uv


def uv_environ() -> dict[str, str]:
    """Return variables that have uv use the index that pip is set to."""
    environ = dict(os.environ, UV_PYTHON_DOWNLOADS='never')
    config = subprocess.run([sys.executable, '-m', 'pip', 'config', 'list'],
                            capture_output=True, text=True).stdout
    names = {'index-url': 'UV_DEFAULT_INDEX', 'cert': 'SSL_CERT_FILE'}
    for key, value in re.findall(r"\.(index-url|cert)='(.*)'", config):
        environ.setdefault(names[key], value)
    return environ


def cache_root() -> Path:
    """Return the folder of what is kept for the next environment."""
    user = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    own = os.environ.get('AMT_MM_CACHE') or f'{user}/amt_mm'
    root = Path(own).expanduser().absolute()
    root.mkdir(parents=True, exist_ok=True)
    return root


def check_disk(folder: Path, needed_gib: float) -> None:
    """Raise SetupError unless the disk of a folder has the space."""
    while not folder.exists():
        folder = folder.parent
    free_gib = shutil.disk_usage(folder).free / 1024**3
    if free_gib < needed_gib:
        raise SetupError(
            f'{needed_gib:g} GiB of free disk space are needed in {folder}, '
            f'which has {free_gib:.1f} GiB.')


def ask(python: Path, expression: str) -> str | None:
    """Return what an interpreter prints of an expression, None if it fails."""
    code = f'import sys, sysconfig; print({expression})'
    try:
        return subprocess.check_output(
            [str(python), '-c', code], stderr=subprocess.DEVNULL,
            text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def run(
    what: str, command: Sequence[str],
    environ: Mapping[str, str] | None = None, log: Path | None = None,
) -> None:
    """Run a command, with its output on the terminal or in a log file.

    Raises SetupError if it fails, with the end of the log.
    """
    say(f'setup: {what}')
    with open(log or os.devnull, 'a') as file:
        output = file if log else None
        status = subprocess.call(command, env=environ, stdout=output,
                                 stderr=output, stdin=subprocess.DEVNULL)
    if status:
        reason = 'is above'
        if log:
            last = log.read_text(errors='replace').splitlines()[-8:]
            reason = '\n'.join([f'is in {log}, which ends with:', *last])
        raise SetupError(
            f'failed to {what} (status {status}); the reason {reason}')


def say(text: str) -> None:
    """Write a line to the terminal at once."""
    sys.stdout.write(text + '\n')
    sys.stdout.flush()
