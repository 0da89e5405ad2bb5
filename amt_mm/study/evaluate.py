"""What the encoder of a run is worth.

Shape letters: N images, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.device import get_device
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner, load_checkpoint
from torch import Tensor

from amt_mm.arguments import (
    POSITIVE,
    Check,
    check_all,
    check_dict,
    optional,
)
from amt_mm.datasets.training_set import unwrap
from amt_mm.engine.fit_config import fit_machine, move_data_root
from amt_mm.engine.saliency_maps import whole_image_loader
from amt_mm.engine.sources import SaliencySource
from amt_mm.evaluation import (
    draw_subsets,
    extract_features,
    labels_of,
    linear_probe,
    top_accuracies,
    weighted_knn,
)
from amt_mm.weights import load_encoder

CHECKS: dict[str, Check] = dict(
    max_bank=POSITIVE, k=POSITIVE, finetune=optional(check_dict))
QUERIES_OF = 5  # one in so many images of the bank is a query to choose by


@dataclass(frozen=True)
class Labelled:
    """Features (N, D) of images and their classes (N,)."""

    features: Tensor
    labels: Tensor

    def split(self) -> tuple[Labelled, Labelled]:
        """Return a bank and the queries that settings are chosen by."""
        order = torch.randperm(
            len(self.labels), generator=torch.Generator().manual_seed(0))
        num = len(order) // QUERIES_OF
        return self[order[num:]], self[order[:num]]

    def __getitem__(self, index: Tensor) -> Labelled:
        """Return some of the images."""
        return Labelled(self.features[index], self.labels[index])


class Evaluation:
    """Measures of the encoder in a checkpoint of pre-training.

    Args:
        cfg (Config): What the run trained.
        checkpoint (Path): Its last checkpoint.
        data (dict): As of :class:`amt_mm.study.Study`.
        max_bank (int): Labelled training images, drawn once, that k-NN and
            the linear probe learn from. Defaults to 5000.
        k (int): Neighbours that vote. Defaults to 20.
        finetune (dict, optional): ``config`` of mmpretrain and ``options``
            that override it. Defaults to none, and nothing is fine-tuned.
    """

    def __init__(self, cfg: Config, checkpoint: Path, data: dict[str, str],
                 max_bank: int = 5000, k: int = 20,
                 finetune: dict[str, Any] | None = None) -> None:
        check_all(CHECKS, dict(max_bank=max_bank, k=k, finetune=finetune))
        self.cfg, self.checkpoint, self.data = cfg, checkpoint, data
        self.max_bank, self.k, self.finetune_cfg = max_bank, k, finetune

    @cached_property
    def model(self) -> Any:
        """The model of the run, with the weights of the checkpoint."""
        init_default_scope(self.cfg.get('default_scope', 'mmpretrain'))
        cfg = self.cfg.model.to_dict()
        cfg.setdefault('data_preprocessor', self.cfg.get('data_preprocessor'))
        model = MODELS.build(cfg)
        load_checkpoint(model, str(self.checkpoint), map_location='cpu')
        return model.to(get_device())

    def frozen(self) -> dict[str, float]:
        """Return top-1 of k-NN and a linear probe, in percent.

        ``knn`` and ``linear`` are of the test images; ``knn_val`` and
        ``linear_val`` of held-out training images, to choose settings by.
        """
        bank = self._encode('train', self.max_bank)
        test = self._encode('test')
        own, held_out = bank.split()
        results = {}
        for suffix, known, queries in (('', bank, test),
                                       ('_val', own, held_out)):
            for name, scores in self._classify(queries, known).items():
                tops = top_accuracies(scores, queries.labels)
                results[name + suffix] = round(tops[1], 3)
        return results

    def finetune(self, work_dir: Path) -> dict[str, float]:
        """Return top-1 on the test images after fine-tuning, in percent."""
        assert self.finetune_cfg is not None
        cfg = Config.fromfile(self.finetune_cfg['config'])
        old_root = cfg.get('data_root')
        cfg.merge_from_dict(dict(
            self.finetune_cfg.get('options') or {},
            data_root=self.data['root'], work_dir=str(work_dir),
            experiment_name=f'{work_dir.parent.name}_finetune_{id(cfg)}',
            resume=True, randomness=dict(seed=self.cfg.randomness.seed)))
        move_data_root(cfg, old_root)
        cfg.train_dataloader.dataset.data_prefix = self.data['train']
        cfg.val_dataloader.dataset.data_prefix = self.data['test']
        cfg.model.backbone.init_cfg = None
        fit_machine(cfg)
        runner = Runner.from_cfg(cfg)
        # weights of a run that goes on come after these
        runner.logger.info(
            load_encoder(runner.model.backbone, str(self.checkpoint)))
        runner.train()
        return {'finetune': float(
            runner.message_hub.get_scalar('val/accuracy/top1').current())}

    def _classify(self, queries: Labelled, bank: Labelled
                  ) -> dict[str, Tensor]:
        num_classes = 1 + int(max(queries.labels.max(), bank.labels.max()))
        known = queries.features, bank.features, bank.labels, num_classes
        return dict(knn=weighted_knn(*known, self.k, 0.07),
                    linear=linear_probe(*known))

    def _encode(self, name: str, most: int | None = None) -> Labelled:
        """Show the images of a folder whole to the encoder."""
        loader = self.cfg.train_dataloader
        dataset: BaseDataset = DATASETS.build(dict(
            type='mmpretrain.CustomDataset', data_root=self.data['root'],
            data_prefix=self.data[name]))
        dataset.full_init()
        if most is not None and most < len(dataset):
            dataset, = draw_subsets(dataset, most)
        labels = labels_of(dataset)
        dataset.pipeline = unwrap(
            DATASETS.build(dict(loader.dataset, lazy_init=True))).pipeline
        features = extract_features(self.model, whole_image_loader(
            dataset, SaliencySource.prepare, loader.batch_size,
            loader.num_workers, None))
        return Labelled(features, labels)
