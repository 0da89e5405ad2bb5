"""What every source of saliency maps does.

Shape letters: B batch, C channels, (h, w) token grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.runner import Runner
from mmpretrain.datasets.transforms import PackInputs
from torch import Tensor

from amt_mm.arguments import check_config, error_context
from amt_mm.registry import SALIENCY_SOURCES


class SaliencySource:
    """Makes the maps that ``SaliencyUpdateHook`` writes into the store.

    Attributes:
        is_static (bool): Whether its maps never change, so that they are made
            once.
    """

    is_static = True

    def setup(self, runner: Runner, dataset: BaseDataset,
                grid: tuple[int, int]) -> None:
        """Get ready before the training; refuse what cannot work.

        Args:
            runner (Runner): The run that will use the maps.
            dataset (BaseDataset): Its training set.
            grid (tuple[int]): (h, w) that each map must have.
        """

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
        """Do the arithmetic of the maps of images, which a plan counts."""


def build_source(cfg: dict) -> SaliencySource:
    """Build a source.

    Raises:
        KeyError: If the name is not registered; the message lists those that
            are.
    """
    args = dict(check_config('source', cfg))
    name = args.pop('type')
    cls = SALIENCY_SOURCES.get(name) if isinstance(name, str) else name
    if cls is None:
        names = sorted(f'amt_mm.{n}' for n in SALIENCY_SOURCES.module_dict)
        raise KeyError(f'source must be one of {names}, got {name!r}.')
    args.pop('_scope_', None)
    with error_context('cannot build source from', cfg):
        return cls(**args)
