"""The base class of the sources of saliency maps.

Shape letters: B batch, C channels, (h, w) token grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.runner import Runner
from mmpretrain.datasets.transforms import PackInputs
from torch import Tensor


class SaliencySource:
    """Makes the maps that ``SaliencyUpdateHook`` writes into the store.

    Attributes:
        is_static (bool): Whether its maps never change, so that they are made
            once.
        knows_any_image (bool): Whether it makes maps of images that are not
            of the training set, too.
    """

    is_static = True
    knows_any_image = True

    def setup(self, runner: Runner, dataset: BaseDataset,
              grid: tuple[int, int]) -> None:
        """Prepare before the training; raise an error if that cannot work.

        Args:
            runner (Runner): The run that will use the maps.
            dataset (BaseDataset): Its training set.
            grid (tuple[int]): (h, w) that each map must have.
        """
        self.dataset, self.grid = dataset, grid

    @staticmethod
    def prepare(results: dict) -> Tensor:
        """Turn a sample into ``inputs``, in a worker: its image (C, H, W)."""
        return PackInputs.format_input(results['img'])

    def maps(self, loader: Iterable[dict]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield ``sample_idx`` (B,) and the maps (B, h, w) of each batch.

        Args:
            loader (Iterable[dict]): Batches of ``sample_idx`` and ``inputs``.
        """
        raise NotImplementedError

    def forward_for_flops(self, model: Any, images: Tensor) -> None:
        """Run the forward passes of the maps, whose cost is counted."""
