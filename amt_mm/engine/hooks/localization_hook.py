"""How well the saliency finds objects, during pre-training."""

from __future__ import annotations

import time
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from amt_mm.arguments import check_bool, check_int, check_str, optional
from amt_mm.datasets.training_set import find_transforms, unwrap
from amt_mm.datasets.transforms import AMTMaskGenerator
from amt_mm.engine.sources.model_saliency import full_params, unwrap_model
from amt_mm.evaluation import localize, masks_from_boxes, masks_from_folder
from amt_mm.registry import HOOKS


@HOOKS.register_module()
class LocalizationHook(Hook):
    """Compare saliency with known objects, every so many epochs.

    Reports pointing accuracy and average precision beside those of a centre
    prior (:func:`localize`), as ``localization/*``, to the log and to the
    visualizer. Every process shows the model all of the images, so a few
    hundred are enough. A last measurement follows the last epoch.

    Args:
        images (str): Folder of images.
        masks (str, optional): The same tree of PNG files; see
            :func:`masks_from_folder`. Either this or ``boxes`` is needed.
        boxes (str, optional): File of boxes; see :func:`masks_from_boxes`.
        interval (int): Epochs between two measurements. Defaults to 10.
        at_start (bool): Whether to measure the weights the run starts from.
            Defaults to True.

    Raises:
        ValueError: If not exactly one of ``masks`` and ``boxes`` is given,
            or the run has no ``AMTMaskGenerator``.
        FileNotFoundError: If an image has no mask, or there is no image.
    """

    priority = 'NORMAL'

    def __init__(self,
                 images: str,
                 masks: str | None = None,
                 boxes: str | None = None,
                 interval: int = 10,
                 at_start: bool = True) -> None:
        self.images = Path(check_str('images', images))
        self.masks = optional(check_str)('masks', masks)
        self.boxes = optional(check_str)('boxes', boxes)
        if (masks is None) == (boxes is None):
            raise ValueError('LocalizationHook needs either masks or boxes, '
                             f'got {masks!r} and {boxes!r}.')
        self.interval = check_int('interval', interval, 1)
        self.at_start = check_bool('at_start', at_start)

    def before_train(self, runner: Runner) -> None:
        """Read the objects, and measure the weights of the start."""
        generators = find_transforms(
            unwrap(runner.train_dataloader.dataset), AMTMaskGenerator)
        if not generators:
            raise ValueError('LocalizationHook needs an AMTMaskGenerator in '
                             'the train pipeline, got none.')
        self.grid = generators[0].tokens
        self.truths = masks_from_folder(self.images, Path(self.masks)) \
            if self.masks else masks_from_boxes(self.images, Path(self.boxes))
        if self.at_start and runner.epoch == 0:
            self.measure(runner, 0)

    def after_train_epoch(self, runner: Runner) -> None:
        """Measure every ``interval`` epochs and after the last."""
        if self.every_n_epochs(runner, self.interval) or \
                self.is_last_train_epoch(runner):
            self.measure(runner, runner.epoch + 1)

    def measure(self, runner: Runner, epoch: int) -> None:
        """Report how well the current weights find the objects."""
        start, model = time.perf_counter(), unwrap_model(runner)
        h, w = self.grid
        side = model.backbone.patch_size
        with full_params(runner.model), \
                runner.optim_wrapper.optim_context(model):
            found = localize(model, self.truths, (h * side, w * side))
        if not is_main_process():
            return
        runner.logger.info(f'localization: epoch {epoch}, {found}, '
                           f'{time.perf_counter() - start:.0f} s')
        scalars = {f'localization/{name}': value
                   for name, value in found.as_dict().items()}
        runner.visualizer.add_scalars(
            dict(scalars, epoch=epoch), step=epoch,
            file_path=f'{runner.timestamp}.json')
