"""A short round of ``make torture``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_killed_runs_end_as_if_they_were_not(tmp_path):
    command = [sys.executable, ROOT / 'tests' / 'torture.py', '--kills', '1',
               '--operations', '1', '--two-processes', '1']
    environ = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1',
               'TMPDIR': str(tmp_path)}
    done = subprocess.run(command, env=environ, capture_output=True,
                          text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-5000:]
    assert 'bit for bit as those never killed' in done.stdout
    assert not list(tmp_path.glob('torture*'))
