"""Report an update of the saliency maps."""

from __future__ import annotations

from mmengine.dist import is_main_process
from mmengine.runner import Runner

from amt_mm.saliency import mean_entropy

from .saliency_maps import Maps


def log_update(runner: Runner, maps: Maps, seconds: float) -> None:
    """Write one line to the log, and the figures to the visualizer.

    These are ``saliency/entropy`` (see :func:`mean_entropy`),
    ``saliency/uniform``, the number of maps that say nothing, and
    ``saliency/seconds``. Their step is the 0-based epoch that follows.
    """
    num_images = len(maps.is_informative)
    num_uniform = num_images - int(maps.is_informative.sum())
    runner.logger.info(
        f'saliency updated: epoch {runner.epoch}, {num_images:,} images, '
        f'{num_uniform:,} uniform, {seconds:.0f} s')
    if is_main_process():
        scalars = {
            'saliency/entropy': mean_entropy(maps.values),
            'saliency/uniform': num_uniform,
            'saliency/seconds': seconds,
            'epoch': runner.epoch,
        }
        runner.visualizer.add_scalars(
            scalars, step=runner.epoch, file_path=f'{runner.timestamp}.json')
