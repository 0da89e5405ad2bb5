"""The detection configs say what the paper says, build, and train."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, TRANSFORMS, init_default_scope
from mmengine.runner import Runner
from small_configs import read_config

from amt_mm.engine.fit_config import fit_machine
from projects.demo.demo_shapes import CLASSES

FOLDER = Path(__file__).parents[1] / 'configs' / 'detection'
FILES = sorted(FOLDER.glob('*.py'))
COCO = FOLDER / 'mask-rcnn_vitdet-b_90k_coco.py'
LVIS = FOLDER / 'mask-rcnn_vitdet-b_75k_lvis-v1.py'
ROWS = {
    COCO: (90_000, 80, 100, '42.8 63.0 47.1  36.6 60.1 41.6'),
    LVIS: (75_000, 1203, 300, '26.9 41.3 28.8  26.0 39.4 27.7'),
}


def _build(cfg: Config) -> torch.nn.Module:
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        return MODELS.build(cfg.model)


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_config_builds(path):
    cfg = read_config(path)
    model = _build(cfg)
    backbone = model.backbone
    assert backbone.embed_dims == cfg.model.neck.in_channels
    assert cfg.model.backbone.img_size == \
        cfg.model.data_preprocessor.pad_size_divisor
    # the strides that the heads count with are those of the pyramid
    patch_size = backbone.patch_embed.projection.stride[0]
    strides = [patch_size * 2**n // 4 for n in range(model.neck.num_outs)]
    generator = model.rpn_head.prior_generator
    assert [stride[0] for stride in generator.strides] == strides
    for extractor in (model.roi_head.bbox_roi_extractor,
                      model.roi_head.mask_roi_extractor):
        assert extractor.featmap_strides == strides[:4]
    for name in ('train', 'val', 'test'):
        dataset = cfg[f'{name}_dataloader'].dataset
        dataset = dataset.get('dataset', dataset)
        for step in dataset.pipeline:
            TRANSFORMS.build(step)
    for milestone in cfg.param_scheduler[1].milestones:
        assert milestone < cfg.train_cfg.max_iters
    assert cfg.param_scheduler[1].end == cfg.train_cfg.max_iters
    assert cfg.train_cfg.max_iters % cfg.train_cfg.val_interval == 0
    assert path.read_text().startswith('"""')


@pytest.mark.parametrize('path', ROWS, ids=lambda path: path.stem)
def test_config_says_what_the_paper_says(path):
    cfg = read_config(path)
    max_iters, num_classes, num_dets, row = ROWS[path]
    assert row in path.read_text()
    assert cfg.train_cfg.max_iters == max_iters
    milestones = cfg.param_scheduler[1].milestones
    assert [round(27 * m / max_iters, 2) for m in milestones] == [24, 26]
    assert cfg.auto_scale_lr.base_batch_size == 16
    model = _build(cfg)
    assert model.roi_head.bbox_head.num_classes == num_classes
    assert model.roi_head.mask_head.num_classes == num_classes
    assert model.test_cfg.rcnn.max_per_img == num_dets
    # 4 convolutions with norms in both heads
    assert len(model.roi_head.bbox_head.shared_convs) == 4
    assert len(model.roi_head.mask_head.convs) == 4
    assert len(model.rpn_head.rpn_conv) == 2


def test_rates_of_the_layers():
    cfg = read_config(COCO)
    cfg.optim_wrapper.type = 'OptimWrapper'
    model = _build(cfg)
    groups = {
        group['param_name']: group
        for group in build_optim_wrapper(
            model, cfg.optim_wrapper).optimizer.param_groups
    }
    assert set(groups) == {name for name, _ in model.named_parameters()}
    rate = {name: group['lr'] for name, group in groups.items()}
    assert rate['backbone.pos_embed'] == pytest.approx(1e-4 * 0.7**13)
    assert rate['backbone.layers.11.ln1.bias'] == pytest.approx(0.7e-4)
    assert rate['rpn_head.rpn_cls.weight'] == 1e-4
    assert groups['backbone.pos_embed']['weight_decay'] == 0
    assert groups['backbone.layers.0.ln1.weight']['weight_decay'] == 0
    norm = 'roi_head.mask_head.convs.0.ln.weight'
    assert groups[norm]['weight_decay'] == 0
    assert groups['neck.projections.0.0.conv.weight']['weight_decay'] == 0.1


def test_classes_of_the_demo():
    cfg = read_config('detection/mask-rcnn_vitdet-t_demo')
    assert cfg.classes == tuple(CLASSES)
    for name in ('train', 'val', 'test'):
        metainfo = cfg[f'{name}_dataloader'].dataset.metainfo
        assert metainfo.classes == tuple(CLASSES)


def _reduce(cfg: Config, root: Path, ann_file: str, prefix: str) -> None:
    """Shrink encoder, images and batch to what one core trains in seconds."""
    cfg.model.backbone.update(
        arch='deit-tiny', img_size=128, init_cfg=None)
    cfg.model.neck.in_channels = 192
    cfg.model.data_preprocessor.pad_size_divisor = 128
    cfg.model.train_cfg.rcnn.sampler.num = 16
    loader = cfg.train_dataloader
    loader.update(batch_size=1, num_workers=0, persistent_workers=False)
    dataset = loader.dataset.get('dataset', loader.dataset)
    dataset.update(data_root=str(root), ann_file=ann_file,
                   data_prefix=dict(img=prefix), indices=4)
    for step in dataset.pipeline:
        if step['type'] == 'RandomResize':
            step.update(scale=(128, 128), ratio_range=(1., 1.))
        if step['type'] == 'RandomCrop':
            step.update(crop_size=(128, 128))
    cfg.train_cfg.update(max_iters=1, val_interval=2)
    for part in ('val', 'test'):
        for name in ('dataloader', 'cfg', 'evaluator'):
            cfg[f'{part}_{name}'] = None
    cfg.default_hooks.logger.interval = 1


@pytest.mark.parametrize('name', ['coco', 'lvis'])
def test_trains_on_real_photographs(name, unpack, tmp_path):
    cfg = read_config(COCO if name == 'coco' else LVIS)
    style = 'instances' if name == 'coco' else 'lvis_v1_style'
    prefix = 'images/' if name == 'lvis' else 'images/train2017/'
    _reduce(cfg, unpack('coco_mini'),
            f'annotations/{style}_train2017.json', prefix)
    cfg.work_dir = str(tmp_path)
    fit_machine(cfg)
    runner = Runner.from_cfg(cfg)
    before = {name: value.clone() for name, value in
              runner.model.named_parameters()}
    runner.train()
    scalars = runner.message_hub.log_scalars
    for loss in ('loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox',
                 'loss_mask'):
        assert 0 <= scalars[f'train/{loss}'].current() < 20
    # -log(1 / 1204) for a head that knows nothing
    assert scalars['train/loss_cls'].current() > 1
    moved = {name for name, value in runner.model.named_parameters()
             if not torch.equal(value, before[name])}
    assert {'backbone.patch_embed.projection.weight',
            'neck.projections.0.0.conv.weight'} <= moved
