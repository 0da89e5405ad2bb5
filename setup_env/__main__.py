"""Command line: `python3 -m setup_env demo`, `... test` or `... original`."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from .environment import SetupError, make_environment, say
from .mmcv import Mmcv, check_compiler

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str] | None = None) -> int:
    """Set up the environment and return the exit status."""
    parser = argparse.ArgumentParser(prog='setup_env', description=__doc__)
    parser.add_argument(
        'flavour', choices=['demo', 'test', 'original'],
        help='test: with the compiled operators of mmcv; demo: without, '
        'unless there is a compiled wheel already; original: .venv-original, '
        'with the original packages of OpenMMLab')  # fmt: skip
    parser.add_argument(
        '--meanwhile', metavar='COMMAND',
        help='shell command to run before mmcv is installed, while its '
        'operators are compiled')
    args = parser.parse_args(arguments)
    try:
        if args.flavour == 'original':
            make_environment(
                ROOT / '.venv-original', ROOT / 'requirements/original.txt',
                ['-e', str(ROOT)])
            return 0
        return set_up(ROOT, args.flavour == 'test', args.meanwhile)
    except SetupError as error:
        say(f'setup: {error}')
        return 1
    except KeyboardInterrupt:
        say('\nsetup: interrupted; the next call goes on from here.')
        return 130


def set_up(root: Path, with_ops: bool, meanwhile: str | None = None) -> int:
    """Set up `.venv` of a checkout; return the status of the command."""
    lock = root / 'requirements' / 'lock.txt'
    python = make_environment(root / '.venv', lock, ['-e', str(root)])
    # What the build leaves there, Python would find before what is installed.
    shutil.rmtree(root / 'amt_mm.egg-info', ignore_errors=True)
    pin = (root / 'requirements' / 'mmcv.txt').read_text().split()[-1]
    mmcv = Mmcv(python, lock, pin[len('onedl-mmcv==') :])
    is_done = mmcv.is_installed(with_ops)
    wheel = None if is_done else mmcv.find()
    needs_wheel = with_ops and not is_done and not wheel
    if needs_wheel:
        check_compiler(python)
    with subprocess.Popen(['sh', '-c', meanwhile or ':']) as process:
        if needs_wheel:
            wheel = mmcv.build()
    if not is_done:
        mmcv.install(wheel)
        say('setup: .venv is ready')
    return process.returncode


if __name__ == '__main__':
    sys.exit(main())
