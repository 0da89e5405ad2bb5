"""Who downloads, and what the others do meanwhile."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch.distributed as torch_dist

from amt_mm.datasets.labelled_sets import open_or_download


def _open(folder, works):
    """Return an opener that downloads a file in the main process."""

    def open_(is_main_process):
        if is_main_process and works:
            (folder / 'file').write_text('content')
        return (folder / 'file').read_text()

    return open_


def _rank(rank, folder, works):
    torch_dist.init_process_group(
        'gloo', f'file://{folder}/meeting', rank=rank, world_size=2)
    try:
        result = open_or_download(_open(folder, works), 'place it by hand')
    except FileNotFoundError as error:
        result = str(error)
    Path(folder, f'rank_{rank}').write_text(result)
    torch_dist.destroy_process_group()


@pytest.mark.parametrize('works', [True, False])
def test_other_processes_wait_for_the_download(works, tmp_path):
    context = multiprocessing.get_context('fork')
    ranks = [
        context.Process(target=_rank, args=(rank, tmp_path, works))
        for rank in range(2)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(60)
        assert process.exitcode == 0
    for rank in range(2):
        result = (tmp_path / f'rank_{rank}').read_text()
        assert result.startswith('content' if works else 'place it by hand')
