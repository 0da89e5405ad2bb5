"""Plans: how many tokens get each role, which ones, and those of a batch.

Shape letters: B batch, L tokens, V visible, M masked, D width,
C channels, p patch size, (h, w) token grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dataset.utils import default_collate
from mmengine.structures import BaseDataElement
from torch import Tensor

from amt_mm.arguments import check_choice, check_number
from amt_mm.registry import FUNCTIONS, LAYOUTS, ORDERINGS

VISIBLE, MASKED, THROWN = 0, 1, -1
UNPREDICTED = 2  # masked, but not predicted
UNCOUNTED = 3  # masked, but without data: it has no weight in the loss
# what a layout gives; which of the masked tokens are predicted is drawn after
ROLES = dict(masked=MASKED, thrown=THROWN, visible=VISIBLE)

ROUNDINGS = ('floor', 'ceil')


class TokenCounts(NamedTuple):
    """How many of the tokens (or cells) of an image get each role."""

    masked: int
    thrown: int
    visible: int


def count_tokens(num_tokens: int,
                 mask_ratio: float,
                 throw_ratio: float = 0.,
                 rounding: str = 'floor',
                 prefix: str = '') -> TokenCounts:
    """Turn the ratios r and t of Eq. 6 into exact counts of N tokens or cells.

    ``floor`` rounds the cumulative bounds ``r N`` and ``(r + t) N`` down, as
    MAE does with its one bound; ``ceil`` rounds each share up, as SimMIM does.
    """
    check_number(f'{prefix}mask_ratio', mask_ratio, '[0, 1)')
    check_number(f'{prefix}throw_ratio', throw_ratio, '[0, 1)')
    check_choice('rounding', rounding, ROUNDINGS)
    if mask_ratio + throw_ratio >= 1:
        raise ValueError(f'{prefix}mask_ratio + {prefix}throw_ratio must be '
                         f'< 1, got {mask_ratio} + {throw_ratio}.')
    # decimal fractions: 100 * 0.29 is 28.999999999999996 in binary
    r, t = Fraction(str(mask_ratio)), Fraction(str(throw_ratio))
    if rounding == 'floor':
        masked = floor(num_tokens * r)
        thrown = floor(num_tokens * (r + t)) - masked
    else:
        masked, thrown = ceil(num_tokens * r), ceil(num_tokens * t)
    counts = TokenCounts(masked, thrown, num_tokens - masked - thrown)
    if counts.masked < 1 or counts.visible < 1:
        raise ValueError(
            f'{prefix}mask_ratio and {prefix}throw_ratio must leave at least '
            f'1 token masked and 1 visible, got {mask_ratio} and '
            f'{throw_ratio} of {num_tokens} tokens: {counts.masked} masked, '
            f'{counts.thrown} thrown, {counts.visible} visible. How many '
            'there are is up to input_size and patch_size, or cell_size.')
    return counts


def count_unpredicted(num_masked: int,
                      predict_ratio: float,
                      rounding: str = 'floor') -> int:
    """Count the masked tokens (or cells) that are not predicted."""
    check_number('predict_ratio', predict_ratio, '(0, 1]')
    exact = num_masked * Fraction(str(predict_ratio))
    predicted = floor(exact) if rounding == 'floor' else ceil(exact)
    if predicted < 1:
        raise ValueError('predict_ratio must leave at least 1 token to '
                         f'predict, got {predict_ratio} of {num_masked} '
                         'masked.')
    return num_masked - predicted


class Strategy(NamedTuple):
    """How the tokens (or cells) of one image get their roles."""

    counts: TokenCounts
    ordering: Any
    layout: Any
    num_unpredicted: int = 0

    @classmethod
    def build(cls, counts: TokenCounts, ordering: dict, layout: dict,
              num_unpredicted: int = 0) -> Strategy:
        """Build the ordering and the layout from their configs."""
        return cls(counts, ORDERINGS.build(ordering), LAYOUTS.build(layout),
                   num_unpredicted)

    def plan(self, weights: np.ndarray,
             is_missing: np.ndarray | None = None) -> np.ndarray:
        """Return int8 flags (h, w) for the weights P_A (h, w).

        Patches without data, which ``is_missing`` (h, w) tells, are thrown
        first, and visible if there are more; where those roles cannot hold
        them the rest is masked, unpredicted first, and ``UNCOUNTED``.
        """
        order = self.ordering(weights, self.counts.masked)
        roles = self.layout(self.counts)
        missing_L = np.zeros(weights.size, bool)
        if is_missing is not None:
            missing_L = is_missing.ravel()
            order, roles = _missing_last(order, roles, missing_L)
        flags = np.empty(weights.size, np.int8)
        flags[order] = roles
        if self.num_unpredicted:
            masked = np.random.permutation(np.flatnonzero(flags == MASKED))
            masked = masked[np.argsort(~missing_L[masked], kind='stable')]
            flags[masked[:self.num_unpredicted]] = UNPREDICTED
        flags[missing_L & (flags == MASKED)] = UNCOUNTED
        return flags.reshape(weights.shape)

    def check(self, grid: tuple[int, int]) -> None:
        """Raise ValueError if a try is no permutation, or of other counts."""
        state = np.random.get_state()
        order = self.ordering(np.random.random(grid), self.counts.masked)
        flags = self.layout(self.counts)
        np.random.set_state(state)
        num = sum(self.counts)
        if sorted(np.asarray(order).tolist()) != list(range(num)):
            raise ValueError(f'{type(self.ordering).__name__} must return a '
                             f'permutation of the {num} patches, got '
                             f'{order!r}.')
        counts = tuple(int((flags == role).sum()) for role in ROLES.values())
        if counts != self.counts or len(flags) != num:
            raise ValueError(
                f'{type(self.layout).__name__} must give (masked, thrown, '
                f'visible) {tuple(self.counts)}, got {counts}.')


def _missing_last(order: np.ndarray, roles: np.ndarray,
                  missing_L: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move the patches without data, and the roles for them, to the end."""
    is_last = missing_L[order]
    order = np.concatenate([order[~is_last], order[is_last]])
    # from the last rank on; thrown -1, visible 0, masked 1
    taken = np.argsort(roles[::-1], kind='stable')[:is_last.sum()]
    taken = len(roles) - 1 - taken
    return order, np.concatenate([np.delete(roles, taken), roles[taken]])


@dataclass(frozen=True)
class MaskPlan:
    """Positions of the visible and the masked tokens of a batch.

    Every image of a batch has the same counts, so all shapes are static; the
    ids ascend within an image. Thrown tokens are in neither tensor, nor are
    those that are masked but not predicted: a method knows no difference.
    """

    ids_visible: Tensor  # (B, V) int64 positions in the row-major grid
    ids_masked: Tensor  # (B, M) int64 positions of those to be predicted
    grid: tuple[int, int]  # (h, w), with L = h * w
    # (B, M) float32 weights P_A of the masked tokens, where the loss asks
    saliency: Tensor | None = None
    # (B, M) bool, which masked tokens hold data; None if all do
    has_data: Tensor | None = None

    @classmethod
    def from_flags(cls,
                   flags: np.ndarray,
                   device: torch.device | str = 'cpu') -> MaskPlan:
        """Build the plan from int8 flags (B, h, w) of {0, 1, -1, 2, 3}."""
        if flags.dtype != np.int8:
            raise TypeError(f'flags must be int8, got {flags.dtype}.')
        grid = flags.shape[1], flags.shape[2]
        whole = flags.reshape(len(flags), -1)
        flat = np.where(whole == UNCOUNTED, np.int8(MASKED), whole)
        # as uint8 they sort visible 0, masked 1, unpredicted 2, thrown 255
        ids = np.argsort(flat.view(np.uint8), axis=1, kind='stable')
        num_visible = _common_count(flat == VISIBLE, 'visible')
        num_masked = _common_count(flat == MASKED, 'masked')
        num_others = sum(_common_count(flat == role, name) for name, role in (
            ('thrown', THROWN), ('unpredicted', UNPREDICTED)))
        if num_visible + num_masked + num_others < flat.shape[1]:
            raise ValueError('flags must hold only 0, 1, -1, 2 and 3, got '
                             f'{np.unique(whole).tolist()}.')
        # each contiguous, as only such a copy to a device is asynchronous
        visible, masked, _ = (
            torch.from_numpy(part.copy()) for part in np.split(
                ids, (num_visible, num_visible + num_masked), axis=1))
        counted = np.take_along_axis(whole, masked.numpy(), 1) != UNCOUNTED
        plan = cls(visible, masked, grid, has_data=None if counted.all()
                   else torch.from_numpy(counted))
        if torch.device(device).type == 'cuda':
            return plan.pin_memory().to(device, non_blocking=True)
        return plan.to(device)

    @classmethod
    def from_data_samples(cls,
                          data_samples: Sequence,
                          device: torch.device | str = 'cpu',
                          with_saliency: bool = False) -> MaskPlan:
        """Build the plan from the ``mask_plan`` (h, w) of each data sample.

        :class:`PlannedSamples` hold it already. With ``with_saliency`` their
        ``saliency`` (h, w) is taken too.
        """
        plan: MaskPlan | None = getattr(data_samples, 'plan', None)
        plan = cls.from_flags(_field(data_samples, 'mask_plan'), device) \
            if plan is None else plan.to(device)
        if not with_saliency:
            return plan
        maps = torch.from_numpy(_field(data_samples, 'saliency'))
        maps_BL = maps.flatten(1).to(device)
        return replace(plan, saliency=maps_BL.gather(1, plan.ids_masked))

    def loss_weights(self, share: float = 0.) -> Tensor:
        """Return the weights (B, M) of the masked tokens in the loss.

        Those of an image have the mean 1, of which ``share`` follows the
        saliency. Tokens without data weigh 0 and are left out of the mean.
        """
        # float32: in half precision a sum of ones overflows
        ones = torch.ones_like(self.ids_masked, dtype=torch.float32)
        counted = ones if self.has_data is None else self.has_data.float()
        if self.saliency is None or not share:
            return counted
        tokens = counted * (self.saliency + 1e-6)  # uniform where all are 0
        # a token with data is in every image
        mean = tokens.sum(1, keepdim=True) / counted.sum(1, keepdim=True)
        return counted * (1 - share + share * tokens / mean)

    def to(self, *args: Any, **kwargs: Any) -> MaskPlan:
        """Move the ids, as ``Tensor.to`` does."""
        return self._apply(lambda tensor: tensor.to(*args, **kwargs))

    def pin_memory(self) -> MaskPlan:
        """Put the ids where a copy to a device need not be awaited."""
        return self._apply(Tensor.pin_memory)

    def _apply(self, function: Callable[[Tensor], Tensor]) -> MaskPlan:
        """Apply a function to the ids and what is known of the masked."""
        return replace(
            self, ids_visible=function(self.ids_visible),
            ids_masked=function(self.ids_masked),
            has_data=None if self.has_data is None
            else function(self.has_data))

    @property
    def num_tokens(self) -> int:
        """Tokens of one image, L."""
        return self.grid[0] * self.grid[1]

    def patches(self, images: Tensor, ids: Tensor) -> Tensor:
        """Cut patches (B, n, C, p, p) at ids (B, n) out of (B, C, H, W)."""
        return self._tiles(images)[self._at(ids)]

    def paste(self, images: Tensor, ids: Tensor, patches: Tensor) -> Tensor:
        """Copy ``images`` with ``patches`` (B, n, C, p, p) put in at ids."""
        images = images.clone(memory_format=torch.contiguous_format)
        self._tiles(images)[self._at(ids)] = patches.to(images)
        return images

    def _tiles(self, images: Tensor) -> Tensor:
        """View images as tiles (B, h, w, C, p, p)."""
        (b, c, height, width), (h, w) = images.shape, self.grid
        p = height // h
        if (height, width) != (h * p, w * p) or len(self.ids_visible) != b:
            raise ValueError(
                f'inputs must be {len(self.ids_visible)} images of {h} x {w} '
                'square patches as the plan has, got shape '
                f'{tuple(images.shape)}.')
        return images.reshape(b, c, h, p, w, p).permute(0, 2, 4, 1, 3, 5)

    def _at(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Turn ids (B, n) into an index of the tiles."""
        rows = torch.arange(len(ids), device=ids.device)[:, None]
        width = self.grid[1]
        return rows, ids // width, ids % width


def _field(data_samples: Sequence, key: str) -> np.ndarray:
    """Stack a field (h, w) of the samples of a batch."""
    if any(key not in sample for sample in data_samples):
        # saliency is asked for where saliency_weight of the head is > 0
        option = ', with_saliency=True' if key == 'saliency' else ''
        raise ValueError(
            f'data_samples must hold {key!r}: the pipeline needs '
            f"dict(type='amt_mm.AMTMaskGenerator'{option}) and "
            "PackInputs(algorithm_keys=('mask_plan', 'saliency')).")
    return np.stack([getattr(sample, key) for sample in data_samples])


def _common_count(is_role: np.ndarray, role: str) -> int:
    """Return the count of a role that all images of a batch share."""
    counts = is_role.sum(1)
    if (counts != counts[0]).any():
        raise ValueError(
            f'every image of a batch must have the same number of {role} '
            f'tokens, got {sorted(set(counts.tolist()))}.')
    return int(counts[0])


class PlannedSamples(BaseDataElement):
    """The data samples of a batch, in order, with its plan.

    A loader that pins its batches pins the plan, and a preprocessor that moves
    them moves it.

    Attributes:
        samples (list[mmpretrain.structures.DataSample]): One for each image.
        plan (MaskPlan): Of all images.
    """

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator:
        return iter(self.samples)

    def __getitem__(self, index: int) -> Any:
        return self.samples[index]

    def to(self, *args: Any, **kwargs: Any) -> PlannedSamples:
        """Move all tensors, as ``Tensor.to`` does."""
        # most samples have none, and to move one copies it
        samples = [
            sample.to(*args, **kwargs) if any(
                isinstance(value, (Tensor, BaseDataElement))
                for value in sample.values()) else sample
            for sample in self.samples
        ]
        return PlannedSamples(
            samples=samples, plan=self.plan.to(*args, **kwargs))

    def pin_memory(self) -> PlannedSamples:
        """Pin the plan, so that a copy to the device need not be awaited."""
        return PlannedSamples(
            samples=self.samples, plan=self.plan.pin_memory())


@FUNCTIONS.register_module()
def collate_plans(data_batch: Sequence[dict]) -> dict[str, Any]:
    """Collate as mmengine's ``default_collate``, and make the batch's plan.

    Args:
        data_batch (Sequence[dict]): What ``PackInputs`` made of each image;
            the data samples with ``mask_plan``.

    Returns:
        dict: ``inputs`` (B, C, H, W), and ``data_samples``, which are
        :class:`PlannedSamples`, or a list where they have no plans.
    """
    batch = default_collate(data_batch)
    samples = batch['data_samples']
    if not any('mask_plan' in sample for sample in samples):
        return batch  # of a method without plans, or the model raises
    batch['data_samples'] = PlannedSamples(
        samples=samples, plan=MaskPlan.from_data_samples(samples))
    return batch
