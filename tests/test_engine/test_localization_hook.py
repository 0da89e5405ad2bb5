"""The localization of a run: what it reports, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_run import lines_of, log_of, loss_trace, scalars_of

from amt_mm.engine.hooks import LocalizationHook
from amt_mm.evaluation import localize, masks_from_folder


def test_reports_what_the_model_finds(tiny_cfg, run, finished, images):
    masks = images.parent / 'semantic' / 'train'
    hook = dict(type='amt_mm.LocalizationHook', images=str(images),
                masks=str(masks), interval=2)
    runner = run(tiny_cfg(log_level='INFO', **{
        'train_cfg.max_epochs': 3, 'default_hooks.localization': hook}))
    found = lines_of(scalars_of(runner), 'localization/pointing')
    assert [line['epoch'] for line in found] == [0, 2, 3]
    last = localize(runner.model, masks_from_folder(images, masks), (32, 32))
    for name, value in last.as_dict().items():
        assert found[-1][f'localization/{name}'] == pytest.approx(value)
    assert f'localization: epoch 3, {last}' in log_of(runner)
    # the run is the one without the hook
    np.testing.assert_array_equal(loss_trace(runner), finished(3, 'plain')[1])


@pytest.mark.parametrize('truth', [{}, dict(masks='a', boxes='b')])
def test_needs_one_kind_of_truth(truth):
    with pytest.raises(ValueError, match='either masks or boxes, got'):
        LocalizationHook('images', **truth)


def test_refuses_a_missing_folder(tiny_cfg, run, images, tmp_path):
    hook = dict(type='amt_mm.LocalizationHook', images=str(images),
                masks=str(tmp_path))
    with pytest.raises(FileNotFoundError, match='has no mask'):
        run(tiny_cfg(**{'default_hooks.localization': hook}))
