"""Choose batch size, epochs and workers by the machine and the data."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import torch
from mmengine.config import Config

from .cost import step_bytes
from .optimizers import best_dtype

# images that a run looks at in all, repeated ones too, within bounds of epochs
IMAGES_SEEN = 5_000_000
MIN_EPOCHS, MAX_EPOCHS = 100, 800
# images that are not trained on
HELDOUT_OF, MIN_HELDOUT, MAX_HELDOUT = 20, 10, 256
MIN_STEPS = 10  # of an epoch
MAX_WORKERS = 16  # of a process
WHY_DTYPE = dict(
    bfloat16='the device computes in it',
    float16='the device has no bfloat16',
    float32='there is no accelerator, and the CPU has no AMX')
# of the device's memory; that of the CPU serves other programs, too
ACCELERATOR_SHARE, CPU_SHARE = 0.8, 0.5
GB, MB = 1e9, 1e6


class Pick(NamedTuple):
    """What was chosen, and why, in a few words."""

    value: Any
    why: str


def pick_epochs(num_images: int) -> Pick:
    """Choose so many epochs that few images are seen often, and many less."""
    wanted = round(IMAGES_SEEN / num_images)
    epochs = min(max(wanted, MIN_EPOCHS), MAX_EPOCHS)
    why = f'{num_images:,} images are to be seen {IMAGES_SEEN:,} times in all'
    if epochs != wanted:
        why += f', within {MIN_EPOCHS} to {MAX_EPOCHS} epochs'
    return Pick(epochs, why)


def pick_heldout(num_images: int) -> Pick:
    """Choose how many images are kept back to see what the run learns."""
    number = num_images // HELDOUT_OF
    return Pick(min(number, MAX_HELDOUT) if number >= MIN_HELDOUT else 0,
                f'1 in {HELDOUT_OF} images is kept back for the checkups, '
                f'{MAX_HELDOUT} at most, none where this is fewer than '
                f'{MIN_HELDOUT}')


def pick_batch_size(cfg: Config, num_images: int, world_size: int = 1) -> Pick:
    """Choose the batch of a process: a power of two that fits all bounds.

    The memory is worked out, not tried: see
    :func:`amt_mm.engine.cost.step_bytes`. Mixed precision keeps less than that
    of an image.
    """
    weights, image = step_bytes(cfg)
    memory = device_memory()
    fitting = int((memory - weights) // image)
    recipe = cfg.auto_scale_lr.base_batch_size // world_size
    steps = num_images // (MIN_STEPS * world_size)
    largest = max(1, min(recipe, steps, fitting))
    return Pick(1 << (largest.bit_length() - 1), (
        f'the power of two up to {recipe}, the batch of the recipe, up to '
        f'{steps}, for {MIN_STEPS} steps an epoch, and up to {fitting:,}, as '
        f'{memory / GB:.1f} GB hold {image / MB:.0f} MB an image'))


def device_memory() -> float:
    """Return the bytes that a training step may take on this machine."""
    if torch.cuda.is_available():
        return ACCELERATOR_SHARE * torch.cuda.mem_get_info()[1]
    pages, size = os.sysconf('SC_PHYS_PAGES'), os.sysconf('SC_PAGE_SIZE')
    return CPU_SHARE * pages * size


def pick_workers(world_size: int = 1) -> Pick:
    """Choose one process that loads images for each core, up to a limit."""
    cores = len(os.sched_getaffinity(0))
    workers = max(1, min(cores // world_size, MAX_WORKERS))
    return Pick(workers, f'{cores} cores, and {MAX_WORKERS} at most')


def precision() -> Pick:
    """Return what ``AutoPrecisionOptimWrapper`` trains in, and why."""
    dtype = best_dtype()
    return Pick(dtype, WHY_DTYPE[dtype])
