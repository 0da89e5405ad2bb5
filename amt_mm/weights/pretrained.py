"""A weight initialiser that never loads in silence."""

from __future__ import annotations

import logging

from mmengine.logging import print_log
from mmengine.model import PretrainedInit, update_init_info
from torch import nn

from amt_mm.arguments import check_sides
from amt_mm.registry import WEIGHT_INITIALIZERS

from .grid import check_adapt
from .load import load_encoder


@WEIGHT_INITIALIZERS.register_module()
class Pretrained(PretrainedInit):
    """Initialise a backbone with a pre-trained encoder, or stop.

    mmengine's own ``Pretrained`` goes on when not one key fits; this one logs
    the keys it took, left and lacked, and stops if the encoder did not load.
    It has the same name, as backbones look for it in their ``init_cfg``, so a
    config tells them apart by the scope::

        backbone=dict(init_cfg=dict(
            type='Pretrained', _scope_='amt_mm', checkpoint='FILE'))

    Args:
        checkpoint (str): File, URL or folder of a checkpoint of pre-training,
            or of an encoder alone, with the names of mmpretrain, timm or
            transformers. Only tensors and plain data are read from it.
        prefix (str): What the encoder's keys begin with, where several
            encoders are in the file. Defaults to ``'backbone.'``.
        grid (tuple[int, int], optional): Height and width of the grid it was
            pre-trained on, in patches. Needed where neither the checkpoint
            nor a config in it says.
        adapt (str | list[str]): What is brought to the backbone's where it
            differs: ``'in_channels'`` (summed to one, or repeated and
            scaled) and ``'patch_size'`` (by the pseudo-inverse, as FlexiViT
            does). Defaults to none of them.

    Raises:
        ValueError: If the checkpoint is not named, cannot be read, or holds
            another encoder than the config describes; if the grid is not
            known; or if the ``init_cfg`` has another form than the above,
            with which a backbone initialises itself over what was loaded.
    """

    def __init__(self,
                 checkpoint: str,
                 prefix: str = 'backbone.',
                 grid: tuple[int, int] | None = None,
                 adapt: str | list[str] | None = None) -> None:
        super().__init__(checkpoint, prefix)
        self.grid = grid and check_sides('grid', grid)
        self.adapt = check_adapt(adapt)

    def __call__(self, module: nn.Module) -> None:
        """Load the encoder into a module."""
        if not self.checkpoint:
            raise ValueError(
                'checkpoint must name the pre-trained weights, got '
                f'{self.checkpoint!r}: pass --cfg-options model.backbone.'
                'init_cfg.checkpoint=FILE, or model.backbone.init_cfg=None '
                'for random weights.')
        is_initialising = hasattr(module, '_params_init_info')
        cfg = getattr(module, 'init_cfg', None)
        if is_initialising and not (isinstance(cfg, dict)
                                    and cfg['type'] == 'Pretrained'):
            raise ValueError(
                "init_cfg must be one dict(type='Pretrained', "
                "_scope_='amt_mm', checkpoint=FILE), got "
                f'{cfg!r}: {type(module).__name__} would initialise itself '
                'over the weights it loads.')
        report = load_encoder(module, self.checkpoint, self.prefix, self.grid,
                              adapt=self.adapt)
        print_log(report, logger='current', level=logging.INFO)
        if is_initialising:
            update_init_info(module, init_info=self._get_init_info())
