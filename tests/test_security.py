"""Nothing of ours unpickles, evaluates, or starts a shell: ruff's rules."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# by line, what lint must refuse
CODE = """import dill, joblib, numpy as np, os, pickle, subprocess, tarfile
import marshal, mmengine, torch, yaml
pickle.loads(data)
eval("1")
exec(text)
os.system("ls")
subprocess.run("ls", shell=True)
np.load(path)
tarfile.open(path).extractall(root)
torch.hub.load(repo)
mmengine.load(path)
marshal.loads(data)
yaml.load(text)
"""


def test_lint_sees_code_that_executes_data():
    done = subprocess.run(
        [sys.executable, '-m', 'ruff', 'check', '--output-format', 'concise',
         '--stdin-filename', 'amt_mm/new.py', '-'],
        cwd=ROOT, input=CODE, capture_output=True, text=True)
    found = re.findall(r'new.py:(\d+):\d+: (?:S\d|TID251)', done.stdout)
    lines = {int(line) for line in found}
    assert {1, *range(3, 14)} <= lines, done.stdout


def test_torch_loads_weights_only():
    for folder in ('amt_mm', 'configs', 'docs', 'projects', 'tools'):
        for path in (ROOT / folder).rglob('*.py'):
            calls = re.findall(
                r'\btorch\.load\(.{,120}', path.read_text(), re.S)
            assert all('weights_only=True' in call for call in calls), path
