"""What a config trains, ready to be built: ours and the peer's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.structures import DataSample

from amt_mm.engine.cost import count_macs, find_generator
from amt_mm.masking import (
    MASKED,
    THROWN,
    UNPREDICTED,
    VISIBLE,
    TokenCounts,
)

OURS, STOCK = 'amt_mm.AMT', 'mmpretrain.'
PACKAGE = Path(__file__).parents[1]

TINY = dict(
    embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)


@dataclass(frozen=True)
class Workload:
    """A model and the counts of its plans.

    Attributes:
        model (dict): Config of the model.
        grid (tuple[int, int]): Tokens (h, w) of an image.
        side (int): Of a patch, in pixels.
        counts (TokenCounts): Masked, thrown and visible tokens; of no
            interest to a stock model, which masks by itself.
        num_unpredicted (int): How many of the masked are not predicted.
    """

    model: dict[str, Any]
    grid: tuple[int, int]
    side: int
    counts: TokenCounts
    num_unpredicted: int = 0

    @property
    def is_stock(self) -> bool:
        """Whether the model is mmpretrain's own."""
        return not self.model['type'].startswith(OURS)

    @property
    def has_stock(self) -> bool:
        """Whether mmpretrain has the method for a plain ViT."""
        return self.model['type'] in ('amt_mm.AMTMAE', 'amt_mm.AMTMaskFeat')

    def stock(self) -> Workload:
        """Return the same with mmpretrain's classes for ours."""
        return replace(self, model=stock_config(self.model))

    def build(self, device: torch.device | str) -> Any:
        """Build the model for training."""
        with torch.device(device):
            model = MODELS.build(self.model)
        # a preprocessor moves images to where it was moved, not built
        return model.to(device)

    def images(self, batch_size: int, device: torch.device | str) -> Any:
        """Make noise of the model's size (B, 3, H, W)."""
        h, w = self.grid
        return torch.randn(
            batch_size, 3, h * self.side, w * self.side, device=device)

    def samples(self,
                batch_size: int,
                device: torch.device | str = 'cpu') -> list[DataSample]:
        """Make random plans of the counts, and masks for a stock MaskFeat."""
        flags = np.repeat(
            np.array([MASKED, THROWN, VISIBLE], np.int8), self.counts)
        flags[:self.num_unpredicted] = UNPREDICTED
        made = []
        for _ in range(batch_size):
            sample = DataSample()
            plan = np.random.permutation(flags).reshape(self.grid)
            sample.set_field(plan, 'mask_plan')
            sample.set_field(np.ones(self.grid, np.float32), 'saliency')
            mask = torch.from_numpy(plan == MASKED).to(device)
            sample.set_field(mask, 'mask')
            made.append(sample)
        return made

    def macs(self) -> int:
        """Count the multiply-accumulates of a step, for one image."""
        model, images = self.build('meta'), self.images(1, 'meta')
        plans = self.samples(1, 'meta')
        return count_macs(
            lambda: model.loss(images, plans)['loss'].backward())[0]


def workloads(cfg: Config) -> tuple[Workload, Workload]:
    """Return what a config trains: in its warm-up, and then."""
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    generator = find_generator(cfg)
    model = cfg.model.to_dict()
    model.pop('init_cfg', None)
    model.setdefault('data_preprocessor', cfg.data_preprocessor.to_dict())
    with torch.device('meta'):
        side = MODELS.build(model).backbone.patch_size
    warmup, main = (
        Workload(model, generator.tokens, side,
                 TokenCounts(*(n * generator.scale**2 for n in part.counts)),
                 part.num_unpredicted * generator.scale**2)
        for part in (generator.warmup, generator.strategy_at(0)))
    return warmup, main


def read_config(name: str, tiny: bool = False) -> Config:
    """Read a config of the project by its name, or shrink its model too."""
    folders = PACKAGE / '.mim' / 'configs', PACKAGE.parent / 'configs'
    path = next(folder / f'{name}.py' for folder in folders
                if folder.is_dir())
    cfg = Config.fromfile(path)
    if tiny:
        shrink(cfg.model)
    return cfg


def shrink(model: Any) -> None:
    """Make a model's config that of a toy, with the tokens it has."""
    model.backbone.arch = TINY
    for key in ('embed_dim', 'in_channels'):
        if key in model.neck:
            model.neck[key] = TINY['embed_dims']
    if 'decoder_embed_dim' in model.neck:
        model.neck.update(
            decoder_embed_dim=16, decoder_depth=1, decoder_num_heads=2)


def stock_config(node: Any) -> Any:
    """Name mmpretrain's class where ours changes it: ``AMTMAE`` -> ``MAE``."""
    if isinstance(node, dict):
        if node.get('type') == f'{OURS}CrossDecoder':
            node = dict(node, type=f'{OURS}MAEPretrainDecoder')
            node.pop('inter_block', None)
        return {key: stock_config(value) for key, value in node.items()}
    if isinstance(node, str) and node.startswith(OURS):
        return STOCK + node[len(OURS):]
    return node
