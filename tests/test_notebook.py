"""The notebook runs, cell by cell, in about a minute."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / 'docs' / 'notebooks' / 'first_hour.ipynb'
# what a notebook shows is the value of a cell's last expression
RUN = """
import ast, json, sys
cells = json.load(open(sys.argv[1]))['cells']
names = {}
for cell in cells:
    if cell['cell_type'] != 'code':
        continue
    *lines, last = ast.parse(''.join(cell['source'])).body
    exec(compile(ast.Module(lines, []), 'cell', 'exec'), names)
    if isinstance(last, ast.Expr):
        print('SHOWN', repr(eval(compile(
            ast.Expression(last.value), 'cell', 'eval'), names)))
    else:
        exec(compile(ast.Module([last], []), 'cell', 'exec'), names)
"""


def test_every_cell_runs(tmp_path):
    result = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', RUN, NOTEBOOK], cwd=ROOT,
        capture_output=True, text=True, timeout=280,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1',
             'TMPDIR': str(tmp_path)})
    assert result.returncode == 0, result.stderr[-3000:]
    shown = [line.removeprefix('SHOWN ') for line in result.stdout.splitlines()
             if line.startswith('SHOWN ')]
    assert len(shown) == 5
    images, plans, plan, loss, panels = shown
    assert all('Image' in text for text in (images, plans, panels))
    assert 'Plan of the run' in plan and '28 masked, 26 thrown' in plan
    first, last = (float(word) for word in loss.replace(',', '').strip(
        "'").split() if word.replace('.', '').isdigit())
    assert 0 < last < first


def test_it_is_committed_without_outputs():
    cells = json.loads(NOTEBOOK.read_text())['cells']
    assert all(not cell['outputs'] and cell['execution_count'] is None
               for cell in cells if cell['cell_type'] == 'code')
