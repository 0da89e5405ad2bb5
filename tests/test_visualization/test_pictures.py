"""Attention, head by head, pictures of it, and panels of training samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmpretrain.models import VisionTransformer
from small_configs import read_config

from amt_mm.datasets.training_set import find_transforms
from amt_mm.datasets.transforms import AMTMaskGenerator, SeedSample
from amt_mm.masking import MASKED
from amt_mm.saliency import SaliencyStore, reduce_heads, vit_saliency
from amt_mm.visualization import (
    cls_attention_maps,
    draw_attention,
    draw_heads,
    effective_num_patches,
    training_panels,
)


def test_the_heads_are_those_that_saliency_is_made_of(tiny_arch):
    torch.manual_seed(0)
    vit = VisionTransformer(tiny_arch, img_size=(32, 48), patch_size=8)
    vit.train()
    inputs = torch.randn(2, 3, 32, 48)
    found = torch.as_tensor(cls_attention_maps(vit, inputs))
    assert vit.training and found.shape == (2, 4, 4, 6)
    vit.eval()
    torch.testing.assert_close(
        reduce_heads(found.flatten(2)).reshape(2, 4, 6),
        vit_saliency(vit, inputs), rtol=0, atol=1e-5)
    assert found.sum((2, 3)).max() < 1


def test_the_effective_number_of_patches():
    maps = np.zeros((3, 4, 6))
    maps[0] = 7.
    maps[1, 2, 3] = .1
    maps[2, 0, :2] = 1.
    np.testing.assert_allclose(
        effective_num_patches(maps), [24, 1, 2], rtol=1e-5)


@pytest.mark.parametrize('shape', [(50, 200), (200, 50), (9, 9)])
def test_images_of_any_shape(shape):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8)] * 2
    attention = rng.random((2, 3, 4, 6))
    sheet = draw_heads(images, attention)
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3
    assert sheet.shape[1] > 5 * 50
    fewer = draw_attention(images, dict(one=attention[:, 0]))
    assert fewer.shape[1] <= sheet.shape[1]
    assert fewer.shape[0] == sheet.shape[0]
    # the brightest cell is where the attention is greatest
    attention[0, 0] = 0
    attention[0, 0, 3, 5] = 1
    spot = draw_attention(images[:1], dict(one=attention[:1, 0]))
    plain = draw_attention(images[:1], dict(one=attention[:1, 0] * 0))
    rows, columns = np.nonzero((spot != plain).any(2))
    assert len(rows) and rows.min() > sheet.shape[0] * .1
    assert columns.min() > 100  # in the second column


def test_panels_show_what_is_trained_on(jpeg_folder, tmp_path):
    """Panels come from the train pipeline and the model that is trained."""
    cfg = read_config('mae_amt_vit-t_30e_demo')
    init_default_scope('mmpretrain')
    cfg.train_dataloader.dataset.data_root = str(jpeg_folder)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    generator = find_transforms(dataset, AMTMaskGenerator)[0]
    generator.store = SaliencyStore(tmp_path, len(dataset), generator.tokens,
                                    'x')
    generator.store.reset()
    rng = np.random.default_rng(0)
    generator.store.write(1, rng.random((len(dataset), 8, 8)))
    find_transforms(dataset, SeedSample)[0].set(0, 0)
    cfg.model.data_preprocessor = cfg.data_preprocessor
    model = MODELS.build(cfg.model)
    panels = training_panels(model, dataset, [0, 3])
    for panel, index in zip(panels, (0, 3), strict=True):
        sample = dataset[index]
        np.testing.assert_array_equal(
            panel.plan, sample['data_samples'].mask_plan)
        # RGB of the crop, through normalisation and back
        crop = sample['inputs'].numpy()[::-1].transpose(1, 2, 0)
        np.testing.assert_array_equal(panel.image, crop)
        assert panel.saliency_map.min() == 0
        assert panel.saliency_map.max() == 1
        masked = (panel.plan == MASKED).repeat(8, 0).repeat(8, 1)
        np.testing.assert_array_equal(
            panel.reconstruction[~masked], panel.image[~masked])
        assert (panel.reconstruction[masked] != panel.image[masked]).any()
