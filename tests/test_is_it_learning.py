"""The commands of docs/is_it_learning.md run, with one of its runs."""

from __future__ import annotations

from docs_pages import ROOT, follow, reader_folder


def test_is_it_learning(tmp_path):
    folder = reader_folder(tmp_path)
    assert follow(ROOT / 'docs' / 'is_it_learning.md', folder) >= 2
    assert {path.name for path in (folder / 'out').iterdir()} == {
        'learning.png', 'learning_panels.png'}
