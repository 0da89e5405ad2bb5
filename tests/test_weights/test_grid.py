"""How the tokens of a file lie is known, and any grid fits any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmpretrain.models import BEiTViT
from mmpretrain.models.utils import resize_pos_embed
from safetensors.torch import save_file
from tiny_checkpoints import (
    ARCH,
    SIDE,
    build,
    mae_config,
    save,
    simmim_config,
    vit,
)
from torch import Tensor, nn

from amt_mm.models import AMTBEiTPretrainViT, ViTDet
from amt_mm.weights import load_encoder, read_state_dict
from amt_mm.weights.export import (
    open_checkpoint,
    to_mmpretrain,
    to_safetensors,
)

WIDE = 32, 128  # 4 x 16 tokens, as many as 8 x 8
GRID = 4, 16


def wide_model() -> nn.Module:
    """Return a MAE of 4 x 16 tokens, its positions learned."""
    return build(mae_config(WIDE))


def with_config(path: Path) -> str:
    return save(wide_model(), path / 'run.pth', mae_config(WIDE))


def with_waves(path: Path) -> str:
    """MAE's fixed embedding is that of one grid, in half precision too."""
    model = wide_model()
    model.backbone.init_weights()
    torch.save(model.backbone.half().state_dict(), path / 'bare.pth')
    return str(path / 'bare.pth')


def exported(to: Any, name: str) -> Any:
    def write(path: Path) -> str:
        to(open_checkpoint(with_config(path)), path / name)
        return str(path / name)

    return write


def by_size(path: Path) -> str:
    """As ``tools/export.py`` wrote it before it wrote the grid."""
    state = {f'backbone.{key}': value
             for key, value in wide_model().backbone.state_dict().items()}
    save_file(state, path / 'old.safetensors', dict(
        image_size='32x128', patch_size='8'))
    return str(path / 'old.safetensors')


@pytest.mark.parametrize('write', [
    with_config, with_waves, by_size,
    exported(to_mmpretrain, 'out.pth'),
    exported(to_safetensors, 'out.safetensors')])
@pytest.mark.parametrize('size', [(24, 80), WIDE])
def test_any_grid_to_any_grid(write, size, tmp_path):
    path, target = write(tmp_path), vit(img_size=size)
    report = load_encoder(target, path)
    state = read_state_dict(path)
    source = state.get('backbone.pos_embed', state.get('pos_embed'))
    grid = tuple(target.patch_resolution)
    torch.testing.assert_close(target.pos_embed.data, resize_pos_embed(
        source, GRID, grid).float(), rtol=0, atol=1e-3 * (
            source.dtype == torch.half))
    if grid != GRID:
        assert f'grid 4 x 16 -> {grid[0]} x {grid[1]}' in report
    else:
        assert 'resized nothing' in report


def test_size_that_a_config_leaves_to_mmpretrain(tmp_path):
    """It has 224."""
    config = simmim_config()
    del config['backbone']['img_size']
    path = save(build(config), tmp_path / 'run.pth', config)
    assert 'grid 28 x 28 -> 8 x 8' in load_encoder(vit(img_size=64), path)


@pytest.mark.parametrize('size', [WIDE, 64])
def test_where_nothing_says_it_is_asked(size, tmp_path):
    """Not even a square number of tokens says that they are a square."""
    h, w = (size, size) if isinstance(size, int) else size
    path = save(build(mae_config(size)), tmp_path / 'run.pth')
    with pytest.raises(ValueError, match=r'run.pth is not known.* Pass grid='):
        load_encoder(vit(img_size=64), path)
    target = vit(img_size=(16, 256))
    assert f'grid {h // 8} x {w // 8} -> 2 x 32' in load_encoder(
        target, path, grid=(h // 8, w // 8))
    backbone = MODELS.build(dict(
        type='mmpretrain.VisionTransformer', arch=ARCH, img_size=(16, 256),
        patch_size=SIDE, init_cfg=dict(
            type='Pretrained', _scope_='amt_mm', checkpoint=path,
            grid=[h // 8, w // 8])))
    backbone.init_weights()
    assert torch.equal(backbone.pos_embed, target.pos_embed)


def test_config_on_the_command_line_says_it(tmp_path):
    """It made the file, unless the file says something else."""
    bare = save(wide_model(), tmp_path / 'bare.pth')
    assert 'resized nothing' in load_encoder(
        vit(img_size=WIDE), bare, assume_own_grid=True)
    assert 'grid 4 x 16 -> 8 x 8' in load_encoder(
        vit(img_size=64), with_config(tmp_path), assume_own_grid=True)
    with pytest.raises(ValueError, match='Pass grid='):  # other tokens
        load_encoder(vit(img_size=48), bare, assume_own_grid=True)


@pytest.mark.parametrize('grid', [(8, 8), (3, 5)])
def test_a_grid_that_contradicts_the_file(grid, tmp_path):
    with pytest.raises(ValueError, match='grid must be that of the pre-train'
                       r'ing, got \(., .\), but the file has a grid of 4 x 16'
                       ):
        load_encoder(vit(img_size=64), with_config(tmp_path), grid=grid)


@pytest.mark.parametrize('size', [64, (40, 88)])
def test_detector(size, tmp_path):
    target = ViTDet(ARCH, size, patch_size=SIDE)
    path = with_config(tmp_path)
    report = load_encoder(target, path)
    grid = tuple(target.patch_resolution)
    expected = resize_pos_embed(
        read_state_dict(path)['backbone.pos_embed'], GRID, grid)[:, 1:]
    assert torch.equal(target.pos_embed.flatten(1, 2), expected)
    assert 'grid 4 x 16 -> ' in report
    # and from there to a plain ViT without a class token
    own = tmp_path / 'own.pth'
    torch.save(target.state_dict(), own)
    plain = vit(img_size=WIDE, with_cls_token=False, final_norm=False,
                out_type='featmap')
    with pytest.raises(ValueError, match='the model lacks layers.0.attn.rel'):
        load_encoder(plain, str(own))
    again = resize_pos_embed(expected, grid, GRID, num_extra_tokens=0)
    assert torch.equal(plain.pos_embed, again)


def beit(size: int | tuple[int, int], kind: type = AMTBEiTPretrainViT,
         **kwargs: Any) -> nn.Module:
    return kind(arch=ARCH, img_size=size, patch_size=SIDE, **kwargs)


def offsets(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return a bias (H, 2h - 1, 2w - 1) of all offsets between tokens."""
    h, w = grid
    return table[:-3].T.unflatten(1, (2 * h - 1, 2 * w - 1))


@pytest.mark.parametrize('size', [64, (128, 32), WIDE])
@pytest.mark.parametrize('shared', [True, False])
def test_relative_positions(size, shared, tmp_path):
    """Their index in the file says the grid; (128, 32) has as many."""
    source = beit(WIDE)
    nn.init.normal_(source.rel_pos_bias.relative_position_bias_table)
    table = source.rel_pos_bias.relative_position_bias_table.data
    torch.save(source.state_dict(), tmp_path / 'beit.pth')
    target = beit(size) if shared else beit(
        size, BEiTViT, out_type='avg_featmap', layer_scale_init_value=.1,
        bias='qv_bias')
    report = load_encoder(target, str(tmp_path / 'beit.pth'))
    bias = target.rel_pos_bias if shared else target.layers[1].attn
    grid = tuple(target.patch_resolution)
    found = bias.relative_position_bias_table.data
    expected = F.interpolate(
        offsets(table, GRID)[None], (2 * grid[0] - 1, 2 * grid[1] - 1),
        mode='bicubic')[0] if grid != GRID else offsets(table, GRID)
    torch.testing.assert_close(offsets(found, grid), expected)
    assert torch.equal(found[-3:], table[-3:])  # of the class token
    fresh = beit(size).rel_pos_bias.relative_position_index
    assert torch.equal(bias.relative_position_index, fresh)
    assert ('grid 4 x 16' in report) == (grid != GRID)
    assert 'index' not in report
