"""Features in a file: what is in it, and what is in memory meanwhile."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch

from amt_mm.evaluation import write_features


def test_blocks_of_any_length_become_one_array(tmp_path):
    blocks = [torch.randn(num, 3, 2) for num in (4, 0, 1)]
    names = [['a', 'bb/é', 'c', 'd'], [], ['e' * 300]]
    shape = write_features(
        tmp_path / 'f.npz', zip(blocks, names, strict=True))
    with np.load(tmp_path / 'f.npz') as file:
        found, listed = file['features'], file['names']
    assert shape == found.shape == (5, 3, 2)
    assert np.array_equal(found, torch.cat(blocks).numpy())
    assert listed.tolist() == sum(names, [])


def test_one_block_is_in_memory_at_a_time(tmp_path):
    rows = torch.zeros(500, 2048)  # 4 MB

    def blocks():
        for number in range(20):
            yield rows.clone(), [f'{number}-{i}' for i in range(len(rows))]

    tracemalloc.start()
    try:
        write_features(tmp_path / 'f.npz', blocks())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30e6  # of 82 MB; numpy writes 16 MB at a time


def test_a_failure_leaves_no_file(tmp_path):

    def blocks():
        yield torch.zeros(2, 3), ['a', 'b']
        raise OSError('disk')

    (tmp_path / 'f.npz').write_text('older')
    with pytest.raises(OSError, match='disk'):
        write_features(tmp_path / 'f.npz', blocks())
    assert [p.name for p in tmp_path.iterdir()] == ['f.npz']
    assert (tmp_path / 'f.npz').read_text() == 'older'
