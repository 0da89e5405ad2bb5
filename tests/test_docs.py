"""What the pages of docs/ say to do works; they build, and the notebook runs.

But for ImageNet and mim, and for the tutorial, which needs mmcv's operators.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from docs_pages import ROOT, follow, reader_folder
from tool_process import run_tool

NOTEBOOK = ROOT / 'docs' / 'notebooks' / 'first_hour.ipynb'
# in place of what makes it last a minute
SMALL = {'num_train=96': 'num_train=48', 'epochs=2': 'epochs=1'}
# what a notebook shows is the value of a cell's last expression
RUN = f"""
import ast, json, sys
names = {{}}
for cell in json.load(open({str(NOTEBOOK)!r}))['cells']:
    if cell['cell_type'] != 'code':
        continue
    source = ''.join(cell['source'])
    for words, ours in {SMALL}.items():
        source = source.replace(words, ours)
    *lines, last = ast.parse(source).body
    exec(compile(ast.Module(lines, []), 'cell', 'exec'), names)
    if isinstance(last, ast.Expr):
        print('SHOWN', repr(eval(compile(
            ast.Expression(last.value), 'cell', 'eval'), names)))
    else:
        exec(compile(ast.Module([last], []), 'cell', 'exec'), names)
"""


@pytest.mark.parametrize(('page', 'number', 'files'), [
    ('how_to', 13, {'work_dirs/my_strategy/epoch_2.pth'}),
    ('pretrain', 5, {'runs/a/checkpoints/epoch_2.pth', 'features.npz'}),
    ('is_it_learning', 3, {'out/learning.png', 'out/learning_panels.png'})])
def test_a_page(demo_data, tmp_path, page, number, files):
    folder = reader_folder(tmp_path, demo_data)
    assert follow(ROOT / 'docs' / f'{page}.md', folder) == number
    assert all((folder / name).is_file() for name in files)
    if out := [*folder.glob('out/*')]:
        assert {f'out/{path.name}' for path in out} == files


def test_every_cell_of_the_notebook_runs(tmp_path):
    assert all(words in NOTEBOOK.read_text() for words in SMALL)
    script = tmp_path / 'cells.py'
    script.write_text(RUN)
    result = run_tool([str(script)], {
        **os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1',
        'TMPDIR': str(tmp_path)}, ROOT)
    assert result.returncode == 0, result.stderr[-3000:]
    shown = [line.removeprefix('SHOWN ') for line in result.stdout.splitlines()
             if line.startswith('SHOWN ')]
    assert len(shown) == 6
    images, plans, plan, loss, panels, shape = shown
    assert shape == '(16, 192)'
    assert all('Image' in text for text in (images, plans, panels))
    assert 'Plan of the run' in plan and '28 masked, 26 thrown' in plan
    first, last = (float(word) for word in loss.replace(',', '').strip(
        "'").split() if word.replace('.', '').isdigit())
    assert 0 < last < first


def test_the_notebook_is_committed_without_outputs():
    cells = json.loads(NOTEBOOK.read_text())['cells']
    assert all(not cell['outputs'] and cell['execution_count'] is None
               for cell in cells if cell['cell_type'] == 'code')


def test_the_docs_build_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip('sphinx', reason='needs the extra docs')
    pytest.importorskip('myst_parser', reason='needs the extra docs')
    done = subprocess.run(
        [sys.executable, '-m', 'sphinx', '-W', '--keep-going', '-q',
         '-b', 'html', ROOT / 'docs', tmp_path],
        env={**os.environ, 'PYTHONPATH': str(ROOT)}, capture_output=True,
        text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    reference = (tmp_path / 'reference.html').read_text()
    for name in ('AMTMAE', 'AMTMaskGenerator', 'SaliencyUpdateHook'):
        assert f'.{name}"' in reference, name
