"""What the localization of a run refuses.

What it reports is in test_hooks_that_look.py.
"""

from __future__ import annotations

import pytest

from amt_mm.engine.hooks import LocalizationHook


@pytest.mark.parametrize('truth', [{}, dict(masks='a', boxes='b')])
def test_needs_one_kind_of_truth(truth):
    with pytest.raises(ValueError, match='either masks or boxes, got'):
        LocalizationHook('images', **truth)


def test_refuses_a_missing_folder(tiny_cfg, run, images, tmp_path):
    hook = dict(type='amt_mm.LocalizationHook', images=str(images),
                masks=str(tmp_path))
    with pytest.raises(FileNotFoundError, match='has no mask'):
        run(tiny_cfg(**{'default_hooks.localization': hook}))
