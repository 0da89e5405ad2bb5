"""The base class of the sources, and maps of the model or of another ViT.

Shape letters: B batch, C channels, (h, w) token grid, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dataset import BaseDataset
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import MODELS
from mmengine.runner import Runner, autocast
from mmpretrain.datasets.transforms import PackInputs
from mmpretrain.models import VisionTransformer
from mmpretrain.utils import get_ori_model
from torch import Tensor
from torch.distributed.fsdp import FullyShardedDataParallel

from amt_mm.arguments import (
    check_choice,
    check_config,
    check_int,
    check_number,
    check_str,
    optional,
)
from amt_mm.registry import SALIENCY_SOURCES
from amt_mm.saliency.attention import (
    FEATURE_METHODS,
    HEAD_REDUCTIONS,
    vit_saliency,
    vit_tokens,
)
from amt_mm.saliency.pixels import weigh_centre
from amt_mm.weights import load_encoder

# enough images for the mean token of each position
NUM_IMAGES = 256


def unwrap_model(runner: Runner) -> Any:
    """Return the model inside of its distributed wrapper."""
    return get_ori_model(runner.model)


def precision_of(runner: Runner) -> dict[str, Any]:
    """Return what mmengine's ``autocast`` takes for the run's precision."""
    wrapper = runner.optim_wrapper
    dtype = getattr(wrapper, 'cast_dtype', None)
    is_mixed = isinstance(wrapper, AmpOptimWrapper) or dtype is not None
    return dict(enabled=is_mixed, dtype=dtype)


@contextmanager
def full_params(model: Any) -> Iterator[None]:
    """Gather the weights of a model that is sharded over the processes.

    Meanwhile the modules that an ``auto_wrap_policy`` wrapped replace their
    wrappers, which cannot run while the weights are gathered.
    """
    if not isinstance(model, FullyShardedDataParallel):
        yield
        return
    wrapped = [(parent._modules, name, child)
               for parent in model.module.modules()
               for name, child in parent.named_children()
               if isinstance(child, FullyShardedDataParallel)]
    with FullyShardedDataParallel.summon_full_params(model, writeback=False):
        for children, name, child in wrapped:
            children[name] = child.module
        try:
            yield
        finally:
            for children, name, child in wrapped:
                children[name] = child


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


@SALIENCY_SOURCES.register_module()
class ModelSaliency(SaliencySource):
    """The maps of the model itself, in eval mode (the paper)."""

    is_static = False

    def setup(self, runner: Runner, dataset: BaseDataset,
              grid: tuple[int, int]) -> None:
        """Get the model of the run, and its precision."""
        self.precision = precision_of(runner)
        self.wrapped, self.model = runner.model, unwrap_model(runner)
        self.preprocess = self.model.data_preprocessor
        if not hasattr(self.model, 'saliency'):
            raise ValueError(
                'model must have a method saliency(inputs), as amt_mm.AMTMAE '
                f'has; got {type(self.model).__name__}.')

    @torch.no_grad()
    def maps(self, loader: Iterable[dict]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the saliency of the model with its present weights."""
        was_training = self.model.training
        self.model.eval()
        with full_params(self.wrapped):
            for batch in loader:
                data = dict(inputs=batch['inputs'], data_samples=None)
                inputs = self.preprocess(data)['inputs']
                with autocast(**self.precision):
                    found = self.saliency_of(self.model, inputs)
                yield batch['sample_idx'], found
        self.model.train(was_training)

    def saliency_of(self, model: Any, images: Tensor) -> Tensor:
        """Return the maps (B, h, w) of images (B, C, H, W)."""
        return model.saliency(images)

    def forward_for_flops(self, model: Any, images: Tensor) -> None:
        """Run the forward pass of the maps."""
        self.saliency_of(model, images)


@SALIENCY_SOURCES.register_module()
class FeatureSaliency(ModelSaliency):
    """How unlike the border of the image the tokens of the model are.

    The mean token of each position, over the first ``NUM_IMAGES`` images of
    each process, is subtracted first: it depends on the position alone.

    Args:
        block (int): The block whose tokens are compared, from the end if
            negative. Defaults to -1.
        method (str): ``'geodesic'``, the distance to the border from token to
            token; or ``'contrast'``, one minus the cosine to the border's
            nearest tokens. Defaults to ``'geodesic'``.
        centre_weight (float): Exponent of a weak centre prior; 0 leaves it
            out. Defaults to 1.
    """

    def __init__(self,
                 block: int = -1,
                 method: str = 'geodesic',
                 centre_weight: float = 1.) -> None:
        self.block = check_int('block', block, -10**3, 10**3)
        self.method = check_choice('method', method, FEATURE_METHODS)
        self.centre_weight = check_number('centre_weight', centre_weight,
                                          '[0, inf)')

    def setup(self, runner: Runner, dataset: BaseDataset,
              grid: tuple[int, int]) -> None:
        """Get the model of the run, and check the block."""
        super().setup(runner, dataset, grid)
        depth = len(self.model.backbone.layers)
        check_int('block of FeatureSaliency', self.block, -depth, depth - 1)

    def saliency_of(self, model: Any, images: Tensor) -> Tensor:
        """Return the tokens (B, h, w, D) of images (B, C, H, W)."""
        return vit_tokens(model.backbone, images, self.block)

    def maps(self, loader: Iterable[dict]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield how unlike the border the tokens are, with present weights."""
        batches = super().maps(loader)
        first: list[tuple[Tensor, Tensor]] = []
        num_first = 0
        for index, tokens in batches:
            first.append((index, tokens))
            num_first += len(index)
            if num_first >= NUM_IMAGES:
                break
        if not first:
            return
        mean = torch.cat([tokens.float() for _, tokens in first]).mean(0)
        for index, tokens in chain(first, batches):
            found = FEATURE_METHODS[self.method](tokens.float() - mean)
            saliency = weigh_centre(found, self.centre_weight)
            yield index, torch.from_numpy(saliency).to(tokens.device)


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


@SALIENCY_SOURCES.register_module()
class TeacherSaliency(ModelSaliency):
    """The maps of a trained ViT, made once.

    A teacher that decides what to mask is the idea of `SemMAE
    <https://arxiv.org/abs/2206.10207>`_ and `MILAN
    <https://arxiv.org/abs/2208.06049>`_; the map is AMT's, Eq. 3-4.

    Args:
        checkpoint (str): File, URL or folder of its weights; see
            :func:`amt_mm.weights.load_encoder`. Only tensors and plain data
            are read from it.
        backbone (dict): Config of an mmpretrain ``VisionTransformer`` with a
            class token. Its patches on the input of the run must give the
            grid of the plan.
        head_reduction (str): See :class:`amt_mm.models.AMTMAE`.
            Defaults to ``'mean_then_scale'``.
        data_preprocessor (dict, optional): How images are normalised
            for the teacher. Defaults to that of the model in training.

    Raises:
        ValueError: If the checkpoint cannot be read, or belongs to another
            architecture.
    """

    is_static = True

    def __init__(self,
                 checkpoint: str,
                 backbone: dict[str, Any],
                 head_reduction: str = 'mean_then_scale',
                 data_preprocessor: dict[str, Any] | None = None) -> None:
        self.checkpoint = check_str('checkpoint', checkpoint)
        self.backbone = check_config('backbone', backbone)
        self.head_reduction = check_choice('head_reduction', head_reduction,
                                           HEAD_REDUCTIONS)
        self.data_preprocessor = optional(check_config)(
            'data_preprocessor', data_preprocessor)

    def setup(self, runner: Runner, dataset: BaseDataset,
              grid: tuple[int, int]) -> None:
        """Load the teacher; it waits on the CPU."""
        with torch.random.fork_rng(devices=[]):
            self.model = self.wrapped = self.build()
        runner.logger.info(load_encoder(self.model, self.checkpoint,
                                        assume_own_grid=True))
        self.model.eval()  # mmpretrain's returns None
        self.model.requires_grad_(False)
        self.precision = precision_of(runner)
        self.preprocess = unwrap_model(runner).data_preprocessor
        if self.data_preprocessor is not None:
            self.preprocess = MODELS.build(self.data_preprocessor).to(
                self.preprocess.device)

    def build(self) -> VisionTransformer:
        """Build the teacher with random weights."""
        vit = MODELS.build(self.backbone)
        if not isinstance(vit, VisionTransformer) or vit.cls_token is None:
            raise ValueError(
                'backbone of TeacherSaliency must be an mmpretrain '
                'VisionTransformer with a class token, got '
                f'{type(vit).__name__}.')
        return vit

    def maps(self, loader: Iterable[dict]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the saliency of the teacher."""
        self.model.to(self.preprocess.device)
        yield from super().maps(loader)
        self.model.cpu()

    def saliency_of(self, model: Any, images: Tensor) -> Tensor:
        """Return the maps (B, h, w) of images (B, C, H, W)."""
        return vit_saliency(model, images, self.head_reduction)

    def forward_for_flops(self, model: Any, images: Tensor) -> None:
        """Run the forward pass of a teacher without weights."""
        with images.device:
            self.saliency_of(self.build(), images)
