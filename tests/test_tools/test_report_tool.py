"""The command that writes the page about a run."""

from __future__ import annotations

import json
import sys

import pytest

from tools import report


@pytest.fixture
def work_dir(tmp_path):
    """Return a work dir with one logged step."""
    folder = tmp_path / 'run' / '20260101_000000' / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text(
        json.dumps(dict(loss=0.5, epoch=1, iter=1, step=1)))
    return tmp_path / 'run'


def test_writes_where_it_is_told(tool, work_dir):
    result = tool('report', work_dir, work_dir, '--out', 'both.html',
                  cwd=work_dir)
    assert result.returncode == 0, result.stderr
    assert str(work_dir / 'both.html') in result.stdout
    assert '<!doctype html>' in (work_dir / 'both.html').read_text()
    assert not (work_dir / 'report.html').exists()


def test_a_folder_without_a_run_is_refused(call, tmp_path):
    result = call('report', tmp_path)
    assert result.returncode == 1
    assert result.stderr.strip().endswith(
        'WORK_DIR must hold folders such as 20260131_235959, which training '
        f'makes in its work dir; {tmp_path} is empty.')
    assert not list(tmp_path.iterdir())


def test_names_the_extra_that_is_missing(monkeypatch, work_dir):
    monkeypatch.setitem(sys.modules, 'plotly', None)
    for name in [n for n in sys.modules if n.startswith('projects.report')]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, 'argv', ['report.py', str(work_dir)])
    with pytest.raises(SystemExit, match=r'plotly is missing.*amt_mm\[report'):
        report.main()
