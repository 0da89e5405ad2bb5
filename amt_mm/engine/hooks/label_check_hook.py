"""Check at the start of training that the labels fit the model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.fileio import get_text
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.utils import get_ori_model

from amt_mm.datasets.training_set import parts_of
from amt_mm.registry import HOOKS

NUM_MAPS = 64


@HOOKS.register_module()
class LabelCheckHook(Hook):
    """Stop before training on labels that the model cannot learn.

    In mmdet's data sets the classes must be categories of the annotation file,
    in its order, as mmdet numbers the labels by the file alone; a warning
    names those without an annotation. In mmseg's, ``NUM_MAPS`` label maps,
    evenly spread over the data set, are read as the pipeline reads them: their
    labels must be below ``num_classes`` of the head or its ``ignore_index``,
    and some must be neither 0 nor ignored, which masks of 0 and 255 are not.

    Raises:
        ValueError: If the labels do not fit.
    """

    def before_train(self, runner: Runner) -> None:
        """Check the training set."""
        head = getattr(get_ori_model(runner.model), 'decode_head', None)
        for dataset in parts_of(runner.train_dataloader.dataset):
            if head is not None:
                check_label_maps(dataset, head)
            elif 'instances' in dataset.get_data_info(0):
                unused = check_instances(dataset)
                if unused:
                    runner.logger.warning(
                        f'no annotation in {dataset.ann_file} is of the '
                        f'classes {unused}: they cannot be learned.')


def check_instances(dataset: BaseDataset) -> list[str]:
    """Return the classes without an annotation in mmdet's data set."""
    classes = dataset.metainfo['classes']
    if classes != dataset.METAINFO['classes']:
        check_categories(dataset.ann_file, classes)
    counts = Counter(instance['bbox_label'] for index in range(len(dataset))
                     for instance in dataset.get_data_info(index)['instances'])
    return [name for label, name in enumerate(classes) if not counts[label]]


def check_categories(ann_file: str, classes: Sequence[str]) -> None:
    """Raise if classes are not categories of a COCO file, in its order."""
    names = [category['name'] for category in
             json.loads(get_text(ann_file))['categories']]
    if [name for name in names if name in classes] != list(classes):
        raise ValueError(
            f'metainfo.classes must be categories of {ann_file} in their '
            f'order, {names}, got {list(classes)}.')


def check_label_maps(dataset: BaseDataset, head: Any) -> None:
    """Check label maps of mmseg's data set against a decode head."""
    classes = dataset.metainfo['classes']
    if len(classes) != head.num_classes:
        raise ValueError(
            f'decode_head.num_classes must be {len(classes)}, the number of '
            f'metainfo.classes, got {head.num_classes}.')
    load = next(step for step in dataset.pipeline.transforms
                if type(step).__name__ == 'LoadAnnotations')
    labels: set[int] = set()
    for index in np.unique(np.linspace(
            0, len(dataset) - 1, NUM_MAPS).astype(int)):
        info = load(dataset.get_data_info(int(index)))
        found = {*np.unique(info['gt_seg_map']).tolist()} - {head.ignore_index}
        if max(found, default=0) >= head.num_classes:
            raise ValueError(
                f'labels must be below decode_head.num_classes '
                f'{head.num_classes}, or {head.ignore_index}, which is '
                f'ignored; got {sorted(found)} in {info["seg_map_path"]}.')
        labels |= found
    if not labels - {0}:
        raise ValueError(
            f'some label must be neither 0 nor {head.ignore_index}, which is '
            f'ignored, got {sorted(labels)} in {dataset.data_prefix}: write '
            'the pixels of a class as its index in metainfo.classes, such as '
            '1 in place of 255.')
