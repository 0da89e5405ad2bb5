"""The pages of docs/ build, the reference from the docstrings with them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


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
