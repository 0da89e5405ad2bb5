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
def annotations(unpack, tmp_path) -> Path:
    """Six photographs with their LVIS annotations."""
    source = unpack('coco_mini') / 'annotations/lvis_v1_style_val2017.json'
    content = json.loads(source.read_text())
    content['images'] = content['images'][:6]
    ids = {image['id'] for image in content['images']}
    content['annotations'] = [
        a for a in content['annotations'] if a['image_id'] in ids]
    path = tmp_path / 'lvis.json'
    path.write_text(json.dumps(content))
    return path


def truth(lvis: LVIS, img_id: int, shift: float) -> dict:
    """Give the ground truth of an image as detections, its boxes moved."""
    found = lvis.load_anns(lvis.get_ann_ids([img_id]))
    boxes = torch.tensor([ann['bbox'] for ann in found]).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    masks = np.array([lvis.ann_to_mask(ann) for ann in found], bool)
    labels = torch.tensor([ann['category_id'] - 1 for ann in found]).long()
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
