"""Every ordering and layout on several grids: plans and random numbers."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS

from amt_mm.masking import count_tokens
from amt_mm.saliency import SaliencyStore

ORDERINGS = dict(
    random=dict(type='amt_mm.RandomOrdering'),
    attention=dict(type='amt_mm.AttentionOrdering', temperature=0.5,
                   uniform_mix=0.25),
    high=dict(type='amt_mm.AttMaskHighOrdering'),
    low=dict(type='amt_mm.AttMaskLowOrdering'),
    block=dict(type='amt_mm.BlockOrdering', min_patches=4),
    grid=dict(type='amt_mm.GridOrdering'))
LAYOUTS = dict(
    middle=dict(type='amt_mm.ThrowMiddle'),
    low=dict(type='amt_mm.ThrowLow'),
    random=dict(type='amt_mm.ThrowRandom'),
    hints=dict(type='amt_mm.ShowHints'))
SHAPES = {
    '14x14': dict(input_size=224),
    '7x7': dict(input_size=224, cell_size=32, rounding='ceil',
                mask_ratio=0.44, throw_ratio=0.26),
    '10x16': dict(input_size=(160, 256)),
}
RATIOS = [(.75, 0), (.45, .40), (.44, .26), (.33, .50), (.29, .41)]


@pytest.fixture
def masked(tmp_path):
    """Return a function that masks an image and says what came of it."""

    def make(**options):
        generator = TRANSFORMS.build(
            dict(type='amt_mm.AMTMaskGenerator', **options))
        store = SaliencyStore(tmp_path, 1, generator.tokens, '')
        store.reset()
        h, w = generator.tokens
        rows, columns = np.mgrid[:h, :w]
        store.write(0, np.exp(-((rows - 5) / h)**2 - ((columns - 4) / w)**2
                              * 4)[None])
        generator.store = store
        np.random.seed(0)
        results = generator.transform(dict(
            sample_idx=0, crop_box=(.1, .2, .85, .95),
            flip_direction='horizontal'))
        plan = results['mask_plan']
        return [plan.dtype.name, *plan.shape, zlib.crc32(plan.tobytes()),
                np.random.randint(2**31),
                float(results.get('saliency', np.zeros(1)).sum())]

    return make


def test_plans(golden, masked):
    golden('masks', {
        shape: {
            ordering: {
                layout: masked(**SHAPES[shape], ordering=ORDERINGS[ordering],
                               layout=LAYOUTS[layout])
                for layout in LAYOUTS
            } for ordering in ORDERINGS
        } for shape in SHAPES})


def test_counts(golden):
    golden('counts', {
        f'{rounding} {num_tokens}': [
            count_tokens(num_tokens, *ratios, rounding) for ratios in RATIOS]
        for rounding in ('floor', 'ceil')
        for num_tokens in (196, 49, 160, 256, 64)})
