"""Labels that do not fit are told before training."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from small_configs import read_config

from amt_mm.engine.hooks import LabelCheckHook


def check(dataset, head=None):
    """Check a data set as a run does; return the warnings."""
    said = []
    LabelCheckHook().before_train(SimpleNamespace(
        model=SimpleNamespace(decode_head=head),
        train_dataloader=SimpleNamespace(dataset=dataset),
        logger=SimpleNamespace(warning=said.append)))
    return said


@pytest.mark.parametrize('labels, num_classes, message', [
    ((0, 255), 3, r'must be neither 0 nor 255.*got \[0\] in .*1 in place of'),
    ((0, 1, 3), 3, r'below decode_head.num_classes 3, or 255.*\[0, 1, 3\] '),
    ((0, 1, 255), 4, 'num_classes must be 3, the number of metainfo.classes'),
    ((0, 1, 255), 3, ''),
])
def test_label_maps(tmp_path, labels, num_classes, message):
    datasets = pytest.importorskip('mmseg.datasets')
    for kind in ('img', 'map'):
        (tmp_path / kind).mkdir()
        picture = np.resize(np.array(labels, np.uint8), (8, 8))
        Image.fromarray(picture).save(tmp_path / kind / 'a.png')
    dataset = datasets.BaseSegDataset(
        data_root=str(tmp_path), img_suffix='.png',
        data_prefix=dict(img_path='img', seg_map_path='map'),
        metainfo=dict(classes=('none', 'a', 'b')),
        pipeline=[dict(type='mmseg.LoadImageFromFile'),
                  dict(type='mmseg.LoadAnnotations')])
    head = SimpleNamespace(num_classes=num_classes, ignore_index=255)
    if not message:
        assert check(dataset, head) == []
        return
    with pytest.raises(ValueError, match=message):
        check(dataset, head)


def test_instances(demo_data):
    datasets = pytest.importorskip('mmdet.datasets')
    ann_file = demo_data / 'annotations/instances_train.json'
    content = json.loads(ann_file.read_text())
    content['categories'].append(dict(id=9, name='person'))
    more = ann_file.with_name('more.json')
    more.write_text(json.dumps(content))

    def dataset(path, *classes):
        return datasets.CocoDataset(
            ann_file=str(path), data_root=str(demo_data),
            data_prefix=dict(img=''), metainfo=dict(classes=classes))

    warning, = check(dataset(more, 'brick_heart', 'person'))
    assert f"no annotation in {more} is of the classes ['person']" in warning
    for classes in (('spoked_ring', 'brick_heart'), ('heart', 'spoked_ring')):
        with pytest.raises(ValueError, match=(
                r"in their order, \['brick_heart', .*, got \['" + classes[0])):
            check(dataset(ann_file, *classes))
    hooks = read_config('detection/mask-rcnn_vitdet-t_demo').custom_hooks
    assert 'amt_mm.LabelCheckHook' in [hook.type for hook in hooks]


def test_the_tool_stops(tool, demo_data, tmp_path):
    """On masks of 0 and 255, as an editor saves them."""
    pytest.importorskip('mmcv.ops')
    data = tmp_path / 'data'
    data.mkdir()
    for path in sorted(demo_data.rglob('*')):
        target = data / path.relative_to(demo_data)
        if path.is_dir():
            target.mkdir()
        elif path.suffix == '.png':
            mask = np.asarray(Image.open(path)) > 0
            Image.fromarray(mask.astype(np.uint8) * 255).save(target)
        else:
            target.symlink_to(path)
    done = tool(
        'train', 'configs/segmentation/upernet_vit-t_demo.py', '--work-dir',
        tmp_path / 'run', '--cfg-options', f'data_root={data}',
        'model.backbone.init_cfg=None', 'train_dataloader.num_workers=0',
        'val_dataloader.num_workers=0')
    assert done.returncode == 1
    assert 'must be neither 0 nor 255' in done.stderr.splitlines()[-1]
