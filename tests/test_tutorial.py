"""Every command of docs/tutorial.md runs, one after the other."""

from __future__ import annotations

import pytest
from docs_pages import ROOT, follow, reader_folder


def test_the_tutorial(demo_data, tmp_path):
    pytest.importorskip('mmcv._ext', reason='mmcv has no operators')
    folder = reader_folder(tmp_path, demo_data)
    assert follow(ROOT / 'docs' / 'tutorial.md', folder) >= 8
    assert (folder / 'work_dirs/my_detector/iter_2.pth').is_file()
    assert (folder / 'work_dirs/my_pretraining/'
            'epoch_2_timm.safetensors').is_file()
