"""Decide, in the worker, which tokens of an image are masked or thrown."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from amt_mm.arguments import (
    check_bool,
    check_int,
    check_multiple,
    check_number,
    check_sides,
    error_context,
)
from amt_mm.masking.orderings import RandomOrdering
from amt_mm.masking.plan import (
    Strategy,
    TokenCounts,
    count_tokens,
    count_unpredicted,
)
from amt_mm.masking.schedules import Scheduled
from amt_mm.registry import TRANSFORMS
from amt_mm.saliency.geometry import Box, crop_map, crop_share
from amt_mm.saliency.store import SaliencyStore


@TRANSFORMS.register_module()
class SeedSample(BaseTransform):
    """Seed numpy's and Python's generators for one sample of one epoch.

    Put first in a pipeline, it makes the random numbers a function of (seed,
    epoch, sample, repeat): the same after a resume, and with any number of
    workers or processes. ``EpochSeedHook`` sets the epoch.

    **Required Keys:**

    - sample_idx

    **Modified Keys:**

    - sample_idx (int): Without the repeat.

    **Added Keys:**

    - epoch (int): 0-based; what a schedule in a later transform goes by.
    """

    def __init__(self) -> None:
        # in shared memory: persistent workers see what the hook writes
        self.seed_and_epoch = torch.full((2, ), -1).share_memory_()

    def set(self, seed: int, epoch: int) -> None:
        """Set the seed of the run and the epoch in all workers."""
        self.seed_and_epoch[0], self.seed_and_epoch[1] = seed, epoch

    def transform(self, results: dict) -> dict:
        """Seed the generators and add ``epoch``."""
        seed, epoch = self.seed_and_epoch.tolist()
        if seed < 0:
            raise ValueError('SeedSample does not know the epoch: add '
                             "dict(type='amt_mm.EpochSeedHook') to "
                             'custom_hooks.')
        index = results['sample_idx']
        place = [seed, epoch, int(index)]
        if repeat := getattr(index, 'repeat', 0):
            place.append(repeat)
        np.random.seed(place)
        random.seed(' '.join(map(str, place)))
        results.update(sample_idx=int(index), epoch=epoch)
        return results


@TRANSFORMS.register_module()
class AMTMaskGenerator(BaseTransform):
    """Plan which tokens are masked, thrown and visible (Eq. 5-6).

    The saliency map of the image is cropped and flipped as the image was and
    summed over each patch; the ordering ranks the patches by it, and the
    layout gives each rank its role. ``SaliencyUpdateHook`` connects the store
    of maps; before its first update the order is random, with the warm-up
    ratios. A strategy that needs no maps has no warm-up.

    In place of ``mask_ratio``, ``throw_ratio`` or any number in ``ordering``
    and ``layout`` a schedule may stand, such as
    ``dict(type='amt_mm.LinearSchedule', start=4., end=1., until=400)``.

    Patches without data take thrown places first, then visible ones; if both
    are too few, the rest is masked and has no weight in the loss. A crop
    without any data gives None, for which the data set takes another sample.

    **Required Keys:**

    - sample_idx
    - crop_box
    - flip_direction (optional)
    - data_mask (optional, from ``LoadImage(nodata=...)``)
    - epoch (with schedules, from ``SeedSample``)

    **Added Keys:**

    - mask_plan (np.ndarray): (h, w) int8 over the tokens: 0 visible, 1 masked,
      -1 thrown, 2 masked but not predicted, 3 masked but without data.
    - saliency (np.ndarray): (h, w) float32 weights P_A over the tokens, from
      the first update on; with ``with_saliency`` always.

    Args:
        input_size (int | tuple[int]): Size of the cropped image, as one int
            or (height, width), in pixels.
        patch_size (int): Side of a token, in pixels. Defaults to 16.
        mask_ratio (float | dict): r, the share of the patches masked.
            Defaults to 0.45.
        throw_ratio (float | dict): t, the share thrown. Defaults to 0.4.
        warmup_mask_ratio (float): r before the first update.
            Defaults to 0.75.
        warmup_throw_ratio (float): t before the first update.
            Defaults to 0.
        cell_size (int, optional): Side of what is masked as one, in pixels, a
            multiple of ``patch_size``: 32 in SimMIM. Defaults to
            ``patch_size``.
        rounding (str): How ratios become counts, see
            :func:`amt_mm.masking.count_tokens`. Defaults to ``'floor'``.
        ordering (dict): Ranks the patches.
            Defaults to ``dict(type='amt_mm.AttentionOrdering')``.
        layout (dict): Gives ranks their role.
            Defaults to ``dict(type='amt_mm.ThrowMiddle')``.
        with_saliency (bool): Whether to add the saliency even where the
            ordering needs none, as a loss weighted by it does. There is a
            warm-up then, and its saliency is uniform. Defaults to False.
        predict_ratio (float): The share of the masked patches, drawn at
            random, that is predicted, in the warm-up too; the others enter
            nothing, as if they were thrown. Defaults to 1.
        nodata_ratio (float): A patch, or a cell, is without data if at least
            this share of its pixels is, in (0, 1]. Defaults to 0.5.
    """

    def __init__(
        self,
        input_size: int | tuple[int, int],
        patch_size: int = 16,
        mask_ratio: float | dict[str, Any] = 0.45,
        throw_ratio: float | dict[str, Any] = 0.4,
        warmup_mask_ratio: float = 0.75,
        warmup_throw_ratio: float = 0.,
        cell_size: int | None = None,
        rounding: str = 'floor',
        ordering: dict[str, Any] | None = None,
        layout: dict[str, Any] | None = None,
        with_saliency: bool = False,
        predict_ratio: float = 1.,
        nodata_ratio: float = 0.5,
    ) -> None:
        self.predict_ratio = predict_ratio
        self.nodata_ratio = check_number('nodata_ratio', nodata_ratio,
                                         '(0, 1]')
        self.with_saliency = check_bool('with_saliency', with_saliency)
        check_int('patch_size', patch_size, 1)
        side, name = (patch_size, 'patch_size') if cell_size is None else (
            check_int('cell_size', cell_size, 1), 'cell_size')
        height, width = (check_multiple('input_size', n, side, name)
                         for n in check_sides('input_size', input_size))
        self.cells = height // side, width // side
        self.scale = check_multiple(name, side, patch_size,
                                    'patch_size') // patch_size
        self.rounding = rounding
        self.num_cells = self.cells[0] * self.cells[1]  # masked as one
        self.warmup_counts = count_tokens(
            self.num_cells, warmup_mask_ratio, warmup_throw_ratio, rounding,
            'warmup_')
        if ordering is None:
            ordering = dict(type='amt_mm.AttentionOrdering')
        if layout is None:
            layout = dict(type='amt_mm.ThrowMiddle')
        self.scheduled = Scheduled(dict(
            mask_ratio=mask_ratio, throw_ratio=throw_ratio, ordering=ordering,
            layout=layout))
        self._present = 0, self._strategy(0)
        for epoch in sorted(self.scheduled.boundary_epochs | {0}):
            self.strategy_at(epoch).check(self.cells)
        if self.needs_saliency:
            with error_context('the warm-up cannot be planned with', dict(
                    warmup_mask_ratio=warmup_mask_ratio,
                    warmup_throw_ratio=warmup_throw_ratio)):
                self.warmup.check(self.cells)
        self.store: SaliencyStore | None = None

    @property
    def needs_saliency(self) -> bool:
        """Whether the ordering or the loss asks for the maps of a store."""
        return self.with_saliency or \
            self._present[1].ordering.needs_saliency

    @property
    def counts(self) -> TokenCounts:
        """Counts over the cells after the warm-up, in epoch 0's ratios."""
        return self.strategy_at(0).counts

    @property
    def warmup(self) -> Strategy:
        """The strategy before the first update of the maps."""
        layout = self._present[1].layout
        return Strategy(self.warmup_counts, RandomOrdering(), layout,
                        self._num_unpredicted(self.warmup_counts))

    def _num_unpredicted(self, counts: TokenCounts) -> int:
        return count_unpredicted(counts.masked, self.predict_ratio,
                                 self.rounding)

    @property
    def tokens(self) -> tuple[int, int]:
        """The grid (h, w) of tokens; a cell covers ``scale`` x ``scale``."""
        return self.cells[0] * self.scale, self.cells[1] * self.scale

    def transform(self, results: dict) -> dict | None:
        """Add ``mask_plan`` and, where there is a map, ``saliency``."""
        is_missing = self.missing(results)
        if is_missing is not None and is_missing.all():
            return None
        strategy = self.strategy_at(self._epoch(results))
        weights = self.weights(results) if self.needs_saliency else None
        has_map = weights is not None
        if weights is None:
            weights = np.ones(self.cells)
            strategy = self.warmup if self.needs_saliency else strategy
        if is_missing is not None and self.needs_saliency:
            weights = np.where(is_missing, 0., weights)
        if has_map or self.with_saliency:
            results['saliency'] = self._per_token(weights.astype(np.float32))
        results['mask_plan'] = self._per_token(
            strategy.plan(weights, is_missing))
        return results

    def fixed_plans(self, number: int, epoch: int = 0,
                    maps: np.ndarray | None = None) -> np.ndarray:
        """Plan whole images by the same random numbers in every call.

        Args:
            number (int): N, how many images.
            epoch (int): Whose ratios count, 0-based. Defaults to 0.
            maps (np.ndarray, optional): Their saliency (N, h, w) over the
                tokens. Without it the order is random.

        Returns:
            np.ndarray: Plans (N, h, w) int8.
        """
        strategy = self.strategy_at(epoch)
        weights = [np.ones(self.cells)] * number
        if maps is None:
            strategy = strategy._replace(ordering=RandomOrdering())
        else:
            weights = [crop_map(map_.astype(np.float64), size=self.cells)
                       for map_ in maps]
        state = np.random.get_state()
        np.random.seed(0)
        plans = [self._per_token(strategy.plan(each)) for each in weights]
        np.random.set_state(state)
        return np.stack(plans)

    def _per_token(self, cells: np.ndarray) -> np.ndarray:
        """Repeat the value of a cell for each of its tokens."""
        return cells if self.scale == 1 else cells.repeat(
            self.scale, 0).repeat(self.scale, 1)

    def weights(self, results: dict) -> np.ndarray | None:
        """Return P_A over the cells (h, w), None before the first update."""
        if self.store is None:
            raise ValueError(
                'AMTMaskGenerator has no saliency store to read: add '
                "dict(type='amt_mm.SaliencyUpdateHook') to custom_hooks, or "
                'an ordering that needs none.')
        saliency_map = self.store.read(results['sample_idx'])
        if saliency_map is None:
            return None
        return crop_map(
            saliency_map.astype(np.float64), *self._crop(results))

    def missing(self, results: dict) -> np.ndarray | None:
        """Return which cells (h, w) are without data, None if none is."""
        data_mask = results.get('data_mask')
        if data_mask is None:
            return None
        share = crop_share(~data_mask, *self._crop(results))
        is_missing = share > self.nodata_ratio - 1e-6  # they are rounded
        return is_missing if is_missing.any() else None

    def _crop(self, results: dict) -> tuple[Box, str | None, tuple[int, int]]:
        """Return the box and the flip of the image, and the cells."""
        if 'crop_box' not in results:
            raise KeyError(
                "AMTMaskGenerator needs 'crop_box' to crop the saliency map "
                "as the image: use dict(type='amt_mm.RandomResizedCropWithBox'"
                ') for RandomResizedCrop.')
        return (results['crop_box'], results.get('flip_direction'),
                self.cells)

    def strategy_at(self, epoch: int) -> Strategy:
        """Return the counts and their strategy in a 0-based epoch."""
        if not self.scheduled.is_constant and self._present[0] != epoch:
            self._present = epoch, self._strategy(epoch)
        return self._present[1]

    def _strategy(self, epoch: int) -> Strategy:
        cfg = self.scheduled.at(epoch)
        try:
            counts = count_tokens(self.num_cells, cfg['mask_ratio'],
                                  cfg['throw_ratio'], self.rounding)
            return Strategy.build(counts, cfg['ordering'], cfg['layout'],
                                  self._num_unpredicted(counts))
        except ValueError as error:
            if self.scheduled.is_constant:
                raise
            raise ValueError(f'{error} This is of epoch {epoch}, as start, '
                             'end, begin and until of the schedules say.'
                             ) from error

    def _epoch(self, results: dict) -> int:
        if self.scheduled.is_constant:
            return 0
        if 'epoch' not in results:
            raise KeyError(
                'AMTMaskGenerator needs the epoch for its schedule: put '
                "dict(type='amt_mm.SeedSample') first in the pipeline and "
                "dict(type='amt_mm.EpochSeedHook') into custom_hooks.")
        return results['epoch']

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(cells={self.cells}, '
                f'scale={self.scale}, counts={tuple(self.counts)}, '
                f'warmup_counts={tuple(self.warmup_counts)}, '
                f'predict_ratio={self.predict_ratio}, '
                f'ordering={type(self._present[1].ordering).__name__}, '
                f'layout={type(self._present[1].layout).__name__})')
