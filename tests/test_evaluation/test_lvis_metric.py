"""The LVIS metric runs with the numpy at hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lvis import LVIS
from mmdet.datasets import LVISV1Dataset
from mmengine.registry import METRICS, DefaultScope


@pytest.fixture
def annotations(tmp_path) -> Path:
    """Two rectangles in each of four images, with their annotations."""
    images = [dict(id=i, height=90, width=120, neg_category_ids=[],
                   not_exhaustive_category_ids=[]) for i in range(1, 5)]
    found = []
    for number in range(8):
        x, y, w, h = 5 + 60 * (number % 2), 10 + number, 40, 50
        found.append(dict(
            id=number + 1, image_id=number // 2 + 1,
            category_id=number % 3 + 1,
            bbox=[x, y, w, h], area=w * h,
            segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]]))
    categories = [dict(id=i + 1, name=name, frequency='f') for i, name in
                  enumerate(LVISV1Dataset.METAINFO['classes'])]
    path = tmp_path / 'lvis.json'
    path.write_text(json.dumps(dict(
        images=images, annotations=found, categories=categories)))
    return path


def truth(lvis: LVIS, img_id: int, shift: float) -> dict:
    """Give the ground truth of an image as detections, its boxes moved."""
    found = lvis.load_anns(lvis.get_ann_ids([img_id]))
    boxes = torch.tensor([ann['bbox'] for ann in found]).float()
    boxes[:, 2:] += boxes[:, :2]
    masks = np.array([lvis.ann_to_mask(ann) for ann in found], bool)
    labels = torch.tensor([ann['category_id'] - 1 for ann in found])
    return dict(img_id=img_id, ori_shape=masks.shape[1:], pred_instances=dict(
        bboxes=boxes + shift, labels=labels, scores=torch.ones(len(found)),
        masks=torch.from_numpy(masks)))


@pytest.mark.parametrize('shift, low, high', [(0., .99, 1.), (40., 0., .5)])
def test_ground_truth_is_found_and_moved_boxes_are_not(
        annotations, shift, low, high):
    with DefaultScope.overwrite_default_scope('mmdet'):
        metric = METRICS.build(dict(
            type='amt_mm.LVISMetric', ann_file=str(annotations),
            metric=['bbox', 'segm']))
    metric.dataset_meta = LVISV1Dataset.METAINFO
    lvis = LVIS(str(annotations))
    samples = [truth(lvis, i, shift) for i in lvis.get_img_ids()]
    metric.process({}, samples)
    results = metric.evaluate(len(samples))
    assert low <= results['lvis/bbox_AP'] <= high
    assert results['lvis/segm_AP'] >= .99
    assert not hasattr(np, 'float')
