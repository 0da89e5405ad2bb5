"""A bar on a terminal, and none elsewhere."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE = """
import time
from amt_mm.progress import progress
print([time.sleep(.2) or n for n in progress(range(4), 'saliency maps')])
print(list(progress(iter('ab'), 'other things', 2)))
"""


def run(stderr, **env):
    """Run CODE with an stderr; return what it wrote to stdout."""
    return subprocess.run(
        [sys.executable, '-c', CODE], stderr=stderr, stdout=subprocess.PIPE,
        text=True, check=True, timeout=120, env={
            **os.environ, 'PYTHONPATH': str(ROOT), 'TERM': 'xterm', **env
        }).stdout


def on_a_terminal(**env):
    """Return what a terminal shows, too."""
    ours, theirs = pty.openpty()
    stdout = run(theirs, **env)
    os.close(theirs)
    shown = b''
    while True:
        try:
            more = os.read(ours, 65536)
        except OSError:  # all of it was read
            break
        if not more:
            break
        shown += more
    os.close(ours)
    return stdout, shown.decode()


def test_a_terminal_shows_a_bar_that_goes():
    stdout, shown = on_a_terminal()
    assert stdout.splitlines()[:2] == ['[0, 1, 2, 3]', "['a', 'b']"]
    assert 'saliency maps' in shown and '100%' in shown
    assert 'other things' in shown


def test_quiet():
    stdout, shown = on_a_terminal(AMT_MM_QUIET='1')
    assert stdout.splitlines()[0] == '[0, 1, 2, 3]'
    assert 'saliency' not in shown


def test_a_log_has_no_bar(tmp_path, capfd):
    with open(tmp_path / 'log', 'w') as log:
        assert run(log).splitlines()[0] == '[0, 1, 2, 3]'
    assert 'saliency' not in (tmp_path / 'log').read_text()
