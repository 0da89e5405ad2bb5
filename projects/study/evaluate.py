"""What the encoder of a run is worth.

Shape letters: N images, D width; 2 for the class token and the mean of the
patch tokens.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.device import get_device
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner, load_checkpoint

from amt_mm.arguments import check_dict, check_int, optional
from amt_mm.datasets.training_set import parts_of
from amt_mm.engine.fit_config import fit_machine, move_data_root
from amt_mm.engine.whole_images import loader_in_order, whole_images
from amt_mm.evaluation import (
    QUERIES_OF,
    Labelled,
    class_token_and_mean,
    draw_subsets,
    extract_features,
    labels_of,
    probe_accuracies,
)


class Evaluation:
    """Measures of the encoder in a checkpoint of pre-training.

    Args:
        cfg (Config): What the run trained.
        checkpoint (Path): Its last checkpoint.
        data (dict): As of :class:`projects.study.Study`.
        max_bank (int): Labelled training images, drawn once, that k-NN and
            the linear probe learn from. Defaults to 5000.
        k (int): Neighbours that vote. Defaults to 20.
        finetune (dict, optional): ``config`` of mmpretrain and ``options``
            that override it. Defaults to none, and nothing is fine-tuned.
    """

    def __init__(self, cfg: Config, checkpoint: Path, data: dict[str, str],
                 max_bank: int = 5000, k: int = 20,
                 finetune: dict[str, Any] | None = None) -> None:
        self.cfg, self.checkpoint, self.data = cfg, checkpoint, data
        self.max_bank = check_int('max_bank', max_bank, 1)
        self.k = check_int('k', k, 1)
        self.finetune_cfg = optional(check_dict)('finetune', finetune)

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

        ``knn`` and ``linear`` are of the class tokens of the test images,
        ``knn_mean`` and ``linear_mean`` of the mean of their patch tokens;
        names that end in ``_val`` are of held-out training images, to choose
        settings by.
        """
        test = self._encode(self._dataset('test'))
        own, held_out = split(self._bank)
        return {**self._classify(test, self._bank),
                **self._classify(held_out, own, '_val')}

    def unseen(self) -> dict[str, float]:
        """Return the same with names that end in ``_unseen``, in percent.

        As :meth:`frozen`, of the training images that neither pre-training
        nor the bank has; nothing where there are none. ``primary`` is the
        mean of the four: k-NN and linear, class token and mean.
        """
        dataset = self._dataset('train')
        folder = Path(self.data['root'], self.data['train'])
        drawn = self.cfg.train_dataloader.dataset.ann_file
        taken = {*Path(drawn).read_text().splitlines()}
        bank, = draw_subsets(dataset, self.max_bank)
        taken.update(_names(bank, folder))
        rest = [index for index, name in enumerate(_names(dataset, folder))
                if name not in taken]
        if not rest:
            return {}
        found = self._classify(self._encode(dataset.get_subset(rest)),
                               self._bank, '_unseen')
        return dict(found, primary=round(statistics.mean(found.values()), 3))

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
        # loaded as the runner initialises the model, which would draw it anew
        cfg.model.backbone.init_cfg = dict(
            type='Pretrained', _scope_='amt_mm',
            checkpoint=str(self.checkpoint))
        fit_machine(cfg)
        runner = Runner.from_cfg(cfg)
        runner.train()
        return {'finetune': float(
            runner.message_hub.get_scalar('val/accuracy/top1').current())}

    @cached_property
    def _bank(self) -> Labelled:
        """The labelled training images that are learned from."""
        dataset, = draw_subsets(self._dataset('train'), self.max_bank)
        return self._encode(dataset)

    def _classify(self, queries: Labelled, bank: Labelled, suffix: str = ''
                  ) -> dict[str, float]:
        found = probe_accuracies(queries, bank, self.k)
        return {f'{name}{suffix}': round(top, 3)
                for name, top in found.items()}

    def _dataset(self, name: str) -> BaseDataset:
        """Return the labelled images of a folder."""
        dataset: BaseDataset = DATASETS.build(dict(
            type='mmpretrain.CustomDataset', data_root=self.data['root'],
            data_prefix=self.data[name]))
        dataset.full_init()
        return dataset

    def _encode(self, dataset: BaseDataset) -> Labelled:
        """Show images whole to the encoder."""
        loader = self.cfg.train_dataloader
        labels = labels_of(dataset)
        dataset.pipeline = parts_of(
            DATASETS.build(dict(loader.dataset, lazy_init=True)))[0].pipeline
        features = extract_features(self.model, loader_in_order(
            whole_images(dataset), loader.batch_size, loader.num_workers),
            class_token_and_mean)
        return Labelled(features, labels)


def split(images: Labelled) -> tuple[Labelled, Labelled]:
    """Return a bank and the queries that settings are chosen by."""
    order = torch.randperm(
        len(images.labels), generator=torch.Generator().manual_seed(0))
    num = len(order) // QUERIES_OF
    return images[order[num:]], images[order[:num]]


def _names(dataset: BaseDataset, folder: Path) -> Iterator[str]:
    """Yield the files of images, as a list of them has it."""
    for index in range(len(dataset)):
        path = Path(dataset.get_data_info(index)['img_path'])
        yield path.relative_to(folder).as_posix()
