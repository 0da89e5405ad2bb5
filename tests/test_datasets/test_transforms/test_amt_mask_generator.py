"""Plans of single images: exact counts, phases, alignment."""
from __future__ import annotations

import numpy as np
import pytest

from amt_mm.datasets.transforms import AMTMaskGenerator
from amt_mm.masking import MASKED, THROWN, UNPREDICTED, VISIBLE
from amt_mm.saliency import SaliencyStore

WHOLE = dict(sample_idx=0, crop_box=(0., 0., 1., 1.))


def _counts(plan):
    return tuple(int((plan == r).sum()) for r in (MASKED, THROWN, VISIBLE))


def _connect(generator, root, saliency_map=None):
    """Give a generator a store of one image, with its map if there is one."""
    store = SaliencyStore(root, 1, generator.tokens, 'x')
    store.reset()
    if saliency_map is not None:
        store.write(1, saliency_map[None])
    generator.store = store
    return store


def _random_map(generator):
    return np.random.default_rng(0).random(generator.tokens)


def test_counts_before_and_after_the_first_update(tmp_path):
    generator = AMTMaskGenerator(224)
    store = _connect(generator, tmp_path)
    results = generator(dict(WHOLE))
    assert _counts(results['mask_plan']) == (147, 0, 49)
    assert 'saliency' not in results
    store.write(40, _random_map(generator)[None])
    for _ in range(20):
        results = generator(dict(WHOLE))
        assert _counts(results['mask_plan']) == (88, 78, 30)
    assert results['mask_plan'].shape == results['saliency'].shape == (14, 14)
    assert results['mask_plan'].dtype == np.int8
    assert results['saliency'].dtype == np.float32
    store.activate(None)  # as a run that is resumed in its warm-up
    assert _counts(generator(dict(WHOLE))['mask_plan']) == (147, 0, 49)
    assert 'counts=(88, 78, 30)' in repr(generator)


def test_a_share_is_predicted_in_the_warm_up_too(tmp_path):
    generator = AMTMaskGenerator(224, predict_ratio=0.5)
    store = _connect(generator, tmp_path)
    plan = generator(dict(WHOLE))['mask_plan']
    assert _counts(plan) == (73, 0, 49) and (plan == UNPREDICTED).sum() == 74
    store.write(40, _random_map(generator)[None])
    np.random.seed(3)
    plan = generator(dict(WHOLE))['mask_plan']
    assert _counts(plan) == (44, 78, 30) and (plan == UNPREDICTED).sum() == 44
    # what is masked, thrown and visible is what it is with all predicted
    whole = AMTMaskGenerator(224)
    whole.store = store
    np.random.seed(3)
    expected = whole(dict(WHOLE))['mask_plan']
    np.testing.assert_array_equal(np.minimum(plan, MASKED), expected)


def test_saliency_beside_random_masks(tmp_path):
    plain, weighted = (AMTMaskGenerator(
        32, 8, ordering=dict(type='amt_mm.RandomOrdering'),
        with_saliency=flag, warmup_mask_ratio=0.6) for flag in (False, True))
    assert weighted.needs_saliency and not plain.needs_saliency
    # without a store there is no warm-up: there is nothing to wait for
    assert _counts(plain(dict(WHOLE))['mask_plan']) == (7, 6, 3)
    store = _connect(weighted, tmp_path)
    results = weighted(dict(WHOLE))
    assert (results['saliency'] == 1).all()  # no map yet
    assert _counts(results['mask_plan']) == (9, 0, 7)
    saliency_map = _random_map(weighted)
    store.write(0, saliency_map[None])
    for _ in range(3):
        state = np.random.get_state()
        results = weighted(dict(WHOLE))
        np.random.set_state(state)
        expected = plain(dict(WHOLE))
        np.testing.assert_array_equal(
            results['mask_plan'], expected['mask_plan'])
        np.testing.assert_allclose(results['saliency'], saliency_map,
                                   atol=1e-3)
        assert 'saliency' not in expected


def test_warm_up_is_uniform(tmp_path):
    np.random.seed(0)
    generator = AMTMaskGenerator(32, 8)
    _connect(generator, tmp_path)
    masked = np.mean([generator(dict(WHOLE))['mask_plan'] == MASKED
                      for _ in range(2000)], 0)
    sigma = (0.75 * 0.25 / 2000)**.5
    assert np.abs(masked - 0.75).max() < 3.5 * sigma


def test_each_image_gets_its_own_map(tmp_path):
    generator = AMTMaskGenerator(32, 8)
    store = SaliencyStore(tmp_path, 3, (4, 4), 'x')
    store.reset()
    store.write(0, np.eye(16)[[2, 5, 11]].reshape(3, 4, 4))
    generator.store = store
    for index, cell in enumerate((2, 5, 11)):
        results = generator({**WHOLE, 'sample_idx': index})
        assert results['saliency'].argmax() == cell
        assert results['mask_plan'].ravel()[cell] == MASKED


@pytest.mark.parametrize('predict_ratio', [1., 0.3])
def test_cells_share_one_role(tmp_path, predict_ratio):
    generator = AMTMaskGenerator(
        224, cell_size=32, rounding='ceil', mask_ratio=0.44, throw_ratio=0.26,
        warmup_mask_ratio=0.6, predict_ratio=predict_ratio)
    store = _connect(generator, tmp_path)
    assert generator.tokens == (14, 14) and generator.cells == (7, 7)
    # 30 and then 22 are masked, of which 9 and 6.6, rounded up, are predicted
    for counts in (((30, 9), 0, 19), ((22, 7), 13, 14)):
        results = generator(dict(WHOLE))
        cells = results['mask_plan'][::2, ::2]
        np.testing.assert_array_equal(
            results['mask_plan'], np.kron(cells, np.ones((2, 2), np.int8)))
        masked, *others = counts
        assert _counts(cells) == (masked[predict_ratio < 1], *others)
        store.write(1, _random_map(generator)[None])
    # the weight of a cell is the sum over its four tokens
    cells = _random_map(generator).reshape(7, 2, 7, 2).sum((1, 3))
    np.testing.assert_allclose(
        results['saliency'][::2, ::2], cells, atol=4e-3)
