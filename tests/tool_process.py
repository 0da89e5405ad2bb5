"""Run the tools in processes that need not import mmpretrain anew.

That takes most of the time of a short run. A server imports it once, and
nothing of this project; a tool is forked from the server and is the main
program of its process. What the documentation runs starts from scratch.
The text of a config is not made pretty, which takes 0.7 s for each log and
each checkpoint.
"""

from __future__ import annotations

import gc
import os
import runpy
import sys
from multiprocessing import get_context
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from tempfile import TemporaryDirectory

from yapf.yapflib import yapf_api

SERVER = get_context('forkserver')
SERVER.set_forkserver_preload(['mmpretrain.models', 'mmpretrain.datasets'])


def run_tool(argv, env, cwd=None, timeout=300):
    """Run a script; return its exit status and what it printed."""
    with TemporaryDirectory() as folder:
        prints = [Path(folder, name) for name in ('out', 'err')]
        process = SERVER.Process(target=_main, args=(argv, env, cwd, prints))
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            raise TimeoutExpired(argv, timeout)
        return CompletedProcess(argv, process.exitcode,
                                *(path.read_text() for path in prints))


def _main(argv, env, cwd, prints):
    gc.freeze()  # as in conftest.py
    yapf_api.FormatCode = lambda text, **options: (text, False)
    for stream, path in zip((sys.stdout, sys.stderr), prints, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream.fileno())
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd or os.getcwd())
    sys.path[:0] = env.get('PYTHONPATH', '').split(':')
    sys.argv = argv
    runpy.run_path(argv[0], run_name='__main__')
