"""A checkpoint says on which grid its encoder was trained."""

from __future__ import annotations

import torch
from mmpretrain.models import VisionTransformer
from mmpretrain.models.utils import resize_pos_embed

from amt_mm.weights import load_encoder, read_checkpoint


def test_a_wide_run_fits_a_square_model(tiny_cfg, run):
    """4 x 16 tokens are as many as 8 x 8."""
    cfg = tiny_cfg(**{
        'model.backbone.img_size': (32, 128),
        'model.neck.num_patches': (4, 16), 'train_cfg.max_epochs': 1})
    pipeline = cfg.train_dataloader.dataset.pipeline
    pipeline[2].scale = pipeline[4].input_size = (32, 128)
    runner = run(cfg)
    path = f'{runner.work_dir}/epoch_1.pth'
    assert read_checkpoint(path)['meta']['grid'] == [4, 16]
    vit = VisionTransformer(dict(cfg.model.backbone.arch), 64, 8)
    assert 'grid 4 x 16 -> 8 x 8' in load_encoder(vit, path)
    expected = resize_pos_embed(
        runner.model.backbone.pos_embed, (4, 16), (8, 8))
    assert torch.equal(vit.pos_embed, expected)
