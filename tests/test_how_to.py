"""The commands of docs/how_to.md run, but for ImageNet and mim."""

from __future__ import annotations

from docs_pages import ROOT, follow, reader_folder


def test_the_how_tos(tmp_path):
    folder = reader_folder(tmp_path)
    assert follow(ROOT / 'docs' / 'how_to.md', folder) >= 9
    assert (folder / 'work_dirs/my_strategy/epoch_2.pth').is_file()
