"""Install mmcv, which comes as source only, with or without operators.

The compiled wheel stays in a cache of our own, keyed by all that matters: the
caches of pip and uv keep one wheel a version, whichever was built first.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from .environment import (
    SetupError,
    ask,
    cache_root,
    check_disk,
    get_uv,
    run,
    uv_environ,
)


class Mmcv:
    """mmcv for one environment.

    Args:
        python (Path): Interpreter of an environment that holds torch.
        lock (Path): Requirements file with the versions of torch and of what
            builds mmcv.
        version (str): Version of onedl-mmcv.
    """

    def __init__(self, python: Path, lock: Path, version: str) -> None:
        self.python, self.lock, self.version = python, lock, version
        tag = ask(python, '"cp%d%d" % sys.version_info[:2]')
        torch = re.findall(r'^torch==([^\s;]+)', lock.read_text(), re.M)[0]
        # of the cache, where the compiled wheel is
        self.folder = cache_root() / f'mmcv-{version}-{tag}-torch{torch}-ops'
        self._stamp = python.parents[1] / 'amt_mm_mmcv.txt'

    def is_installed(self, with_ops: bool) -> bool:
        """Return whether it is there; operators do no harm to a demo."""
        done = self._stamp.read_text() if self._stamp.exists() else ''
        return done == f'{self.version} ops' or (
            not with_ops and done == f'{self.version} lite')

    def find(self) -> Path | None:
        """Return the compiled wheel of the cache.

        One that cannot be imported, as it came from another machine, is
        deleted.
        """
        wheel = next(self.folder.glob('onedl_mmcv-*.whl'), None)
        if wheel and not self._can_import(wheel):
            shutil.rmtree(self.folder)
            return None
        return wheel

    def build(self) -> Path:
        """Compile a wheel into the cache and return it."""
        check_disk(cache_root(), 2)
        log = self.folder.with_name(f'{self.folder.name}.log')
        with tempfile.TemporaryDirectory(dir=cache_root()) as trial:
            # pip, as mmcv compiles its operators where it can import torch:
            # in the environment, not in the empty one of an isolated build.
            run('compile the operators of mmcv, once (10 to 25 minutes)',
                ['nice', str(self.python), '-m', 'pip', 'wheel', '-v',
                 '--no-cache-dir', '--no-deps', '--no-build-isolation',
                 '--wheel-dir', trial, f'onedl-mmcv=={self.version}'],
                build_environ(self.python), log)
            wheel = next(Path(trial).glob('onedl_mmcv-*.whl'))
            if not self._can_import(wheel):
                raise SetupError(
                    'mmcv was built, but `import mmcv.ops` fails; the output '
                    f'of the build is in {log}.')
            # The rename shows the wheel whole or not at all.
            self.folder.mkdir(exist_ok=True)
            return wheel.rename(self.folder / wheel.name)

    def install(self, wheel: Path | None) -> None:
        """Install the compiled wheel, or mmcv without operators."""
        self._stamp.unlink(missing_ok=True)
        run(f'install mmcv {"with" if wheel else "without"} operators',
            [str(get_uv()), 'pip', 'install', '--python', str(self.python),
             '--no-deps', '--compile-bytecode', '--reinstall-package',
             'onedl-mmcv', '--build-constraints', str(self.lock),
             str(wheel or f'onedl-mmcv=={self.version}')], uv_environ())
        self._stamp.write_text(f'{self.version} {"ops" if wheel else "lite"}')

    def _can_import(self, wheel: Path) -> bool:
        """Import the operators of a wheel, apart from the environment."""
        with tempfile.TemporaryDirectory() as folder:
            shutil.unpack_archive(wheel, folder, 'zip')
            code = f'sys.path.insert(0, {folder!r}) or __import__("mmcv.ops")'
            return ask(self.python, code) is not None


def check_compiler(python: Path) -> None:
    """Raise SetupError unless C++ code can be built for an interpreter."""
    # CXX may hold a launcher and options: `ccache g++`.
    compiler = (os.environ.get('CXX') or 'c++').split()[0]
    include = ask(python, 'sysconfig.get_paths()["include"]')
    if not shutil.which(compiler) or not Path(f'{include}/Python.h').exists():
        raise SetupError(
            f'to compile the operators of mmcv, the C++ compiler {compiler} '
            f'and the header {include}/Python.h are needed: install them (on '
            'Debian and Ubuntu: build-essential and python3-dev).')


def build_environ(python: Path) -> dict[str, str]:
    """Return the environment variables of the build."""
    # A compiler needs up to 2 GiB of memory with the headers of torch.
    memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // 2**31
    jobs = max(1, min(len(os.sched_getaffinity(0)), memory))
    return {
        'MAX_JOBS': str(jobs), **os.environ,
        # torch looks for ninja on PATH, where that of the environment must be
        'PATH': f'{python.parent}{os.pathsep}{os.environ["PATH"]}',
        # debug symbols would double the time and fill the disk
        'CFLAGS': f'{os.environ.get("CFLAGS", "")} -g0'.strip(),
        # Operators for the CPU only, on every machine: those for CUDA need its
        # compiler, in the release torch was built with.
        'CUDA_VISIBLE_DEVICES': '', 'FORCE_CUDA': '0'}
