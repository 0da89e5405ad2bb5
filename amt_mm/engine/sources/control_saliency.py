"""Controls to compare the model's own maps with.

Shape letters: B batch, (h, w) token grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dataset import BaseDataset
from mmengine.runner import Runner
from torch import Tensor

from amt_mm.arguments import check_int, check_number, check_str
from amt_mm.datasets.training_set import sample_paths
from amt_mm.evaluation import masks_from_boxes
from amt_mm.registry import SALIENCY_SOURCES
from amt_mm.saliency.pixels import centre_prior

from .model_saliency import ModelSaliency
from .saliency_source import SaliencySource


class ControlSaliency(SaliencySource):
    """Maps that depend on the index of an image, and not on its pixels."""

    def maps(self, loader: Iterable[dict]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the map of each image."""
        for batch in loader:
            index = batch['sample_idx']
            yield index, torch.stack([self.map_of(int(i)) for i in index])

    def map_of(self, index: int) -> Tensor:
        """Return the map (h, w) of an image of the training set."""
        raise NotImplementedError


@SALIENCY_SOURCES.register_module()
class CentreSaliency(ControlSaliency):
    """The same Gaussian at the centre of every image."""

    def map_of(self, index: int) -> Tensor:
        """Return the same map for all."""
        return torch.from_numpy(centre_prior(*self.grid).copy())


@SALIENCY_SOURCES.register_module()
class RandomSaliency(ControlSaliency):
    """Uniform noise: one fixed map for each image.

    Args:
        seed (int): Of the noise. Defaults to 0.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = check_int('seed', seed, 0)

    def map_of(self, index: int) -> Tensor:
        """Draw the map of an image, the same each time."""
        noise = np.random.default_rng((self.seed, index)).random(self.grid)
        return torch.from_numpy(noise.astype(np.float32))


@SALIENCY_SOURCES.register_module()
class BoxSaliency(ControlSaliency):
    """The true boxes of the objects: what the best saliency could be.

    A token weighs 1 inside of a box and ``outside`` beyond, in proportion
    where an edge crosses it; without a box, the map is uniform.

    Args:
        ann_file (str): Lines of ``PATH XMIN YMIN XMAX YMAX``, in pixels of
            the image, the path as it is below the data_root.
        outside (float): Weight beyond the boxes, in [0, 1).
            Defaults to 0.05.
    """

    knows_any_image = False

    def __init__(self, ann_file: str, outside: float = 0.05) -> None:
        self.ann_file = check_str('ann_file', ann_file)
        self.outside = check_number('outside', outside, '[0, 1)')

    def setup(self, runner: Runner, dataset: BaseDataset,
              grid: tuple[int, int]) -> None:
        """Read the boxes of all images."""
        super().setup(runner, dataset, grid)
        root = Path(str(dataset.data_root or ''))
        self.paths = [str(root / path) for path in sample_paths(dataset)]
        self.inside = {
            str(path): F.adaptive_avg_pool2d(
                torch.from_numpy(mask)[None].float(), grid)[0]
            for path, mask in masks_from_boxes(
                root, Path(self.ann_file)).items()
        }
        if not any(path in self.inside for path in self.paths):
            raise ValueError(
                'ann_file of BoxSaliency must have boxes of the images, such '
                f'as {self.paths[0]}, got none in {self.ann_file}.')

    def map_of(self, index: int) -> Tensor:
        """Return how far each token is inside of a box."""
        inside = self.inside.get(self.paths[index], torch.ones(self.grid))
        return self.outside + (1 - self.outside) * inside


@SALIENCY_SOURCES.register_module()
class CornerSaliency(ModelSaliency):
    """The top left corner of the model's map in place of the whole.

    So the code released with the paper effectively crops, whatever the crop
    of the image; ``model.head_reduction='scale_then_mean'`` belongs to it.

    Args:
        share (float): Side of the corner, as a share of the map's.
            Defaults to 0.18: two or three of 14 cells.
    """

    def __init__(self, share: float = 0.18) -> None:
        self.share = check_number('share', share, '(0, 1]')

    def maps(self, loader: Iterable[dict]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the corner, enlarged to the whole."""
        for index, saliency in super().maps(loader):
            grid = saliency.shape[1:]
            h, w = (max(1, round(self.share * side)) for side in grid)
            corner = saliency[:, None, :h, :w]
            yield index, F.interpolate(corner, tuple(grid))[:, 0]
