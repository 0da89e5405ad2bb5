"""How the input grows with the workers of a loader."""

from __future__ import annotations

import tempfile
from collections.abc import Callable

import numpy as np
from mmcv.transforms import Compose
from mmengine.dataset.utils import default_collate
from torch.utils.data import DataLoader, Dataset

from .data_items import GROUP, NUM_MAPS, pipelines, store_of_maps
from .item import Result, Setting, item
from .pipeline_items import images_of
from .timing import interleave, ratios

WORKERS = 0, 1, 2, 4


class Samples(Dataset):
    """The samples of a pipeline, the crops the same in every round."""

    def __init__(self, steps: Compose, paths: list[str]) -> None:
        self.steps, self.paths = steps, paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict | None:
        """Make a sample."""
        np.random.seed((0, 0, index))
        return self.steps(dict(img_path=self.paths[index],
                               sample_idx=index % NUM_MAPS))


def epoch(steps: Compose, paths: list[str],
          workers: int) -> Callable[[], None]:
    """Return what takes an epoch from a loader, whose workers stay."""
    loader = DataLoader(Samples(steps, paths), batch_size=16,
                        num_workers=workers, collate_fn=default_collate,
                        persistent_workers=workers > 0)

    def take() -> None:
        for _ in loader:
            pass

    return take


@item('pipeline_workers', GROUP,
      'Images a second that reach the main process, in batches of 16, by the '
      "workers of the loader: over mmpretrain's pipeline of MAE with as many "
      'workers, the seconds those on the wall.', default=False)
def pipeline_workers(setting: Setting) -> list[Result]:
    """Compare loaders with several numbers of workers."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        paths = images_of(setting, folder)
        built = pipelines(store_of_maps(f'{folder}/maps'))
        for workers in WORKERS[:2] if setting.tiny else WORKERS:
            seconds = interleave(
                {name: epoch(steps, paths, workers)
                 for name, steps in built.items()}, setting.rounds)
            values = ratios(seconds['stock'], seconds['ours'])
            rate = len(paths) / float(np.median(seconds['ours']))
            results.append(Result.of(
                f'images_a_second_{workers}_workers', values,
                extra=dict(peer='stock', a_second=round(rate, 1))))
    return results
