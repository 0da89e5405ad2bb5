"""Checkups of a run: what they measure.

That they change nothing, what several processes find, and what is refused is
in test_hooks_that_look.py.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from mmengine.runner import Runner, load_checkpoint
from tiny_run import hook_of, lines_of, log_of, scalars_of

from amt_mm.datasets.training_set import find_transforms, unwrap
from amt_mm.datasets.transforms import AMTMaskGenerator
from amt_mm.engine.hooks import CheckupHook
from amt_mm.engine.whole_images import whole_images
from amt_mm.evaluation import feature_spread, mean_of_patches, rank_me
from amt_mm.masking import MaskPlan

CHECKUP = 'default_hooks.checkup.'
NAMES = ('epoch', 'checkup/loss', 'checkup/heldout_loss', 'checkup/rank_me',
         'checkup/spread', 'checkup/scale', 'checkup/gain')


@pytest.fixture
def checked_cfg(tiny_cfg, demo_data):
    """Return a function that makes the config of a run with checkups."""

    def make(work_dir='run', **options):
        return tiny_cfg(work_dir, **{
            'train_cfg.max_epochs': 2,
            f'{CHECKUP}type': 'amt_mm.CheckupHook',
            f'{CHECKUP}interval': 1,
            f'{CHECKUP}heldout': str(demo_data / 'val'),
            **options
        })

    return make


def checkups_of(runner):
    """Return the numbers of ``NAMES`` of each checkup of a runner."""
    return [tuple(line[name] for name in NAMES)
            for line in lines_of(scalars_of(runner), 'checkup/loss')]


def test_numbers_are_those_of_the_weights(checked_cfg, run):
    """All images at once, by hand, with the weights of the last epoch.

    The maps are those of the update, before it.
    """
    runner = run(checked_cfg(log_level='INFO'))
    first, *_, last = checkups_of(runner)
    assert (first[0], last[0]) == (0, 2)
    dataset = unwrap(runner.train_dataloader.dataset)
    images, model = whole_images(dataset), runner.model.eval()
    inputs = torch.stack([images[i]['inputs'] for i in range(len(images))])
    inputs = model.data_preprocessor(
        dict(inputs=inputs, data_samples=None))['inputs']
    generator, = find_transforms(dataset, AMTMaskGenerator)
    last_weights = copy.deepcopy(model.state_dict())
    load_checkpoint(model, f'{runner.work_dir}/epoch_1.pth')
    with torch.no_grad():
        maps = model.saliency(inputs).numpy()
    model.load_state_dict(last_weights)
    flags = generator.fixed_plans(len(images), 1, maps)
    random = generator.fixed_plans(len(images), 1)
    # objects are masked more often than by chance
    assert maps[flags == 1].mean() > maps[random == 1].mean()
    # 45 and 40 % of 16 tokens, as after the warm-up, and not all alike
    assert {((plan == 1).sum(), (plan == -1).sum()) for plan in flags} == \
        {(7, 6)}
    assert len(np.unique(flags, axis=0)) > len(flags) // 2
    with torch.no_grad():
        features = mean_of_patches(model.extract_feat(inputs)[-1])
        loss = model.loss_given_plan(inputs, MaskPlan.from_flags(flags))
    scale = inputs.flatten(1).std(1).mean()
    assert .3 < scale < 3
    load_checkpoint(model, f'{runner.work_dir}/epoch_1.pth')
    with torch.no_grad():  # by how much it fell under these plans
        gain = model.loss_given_plan(inputs, MaskPlan.from_flags(flags)) - loss
    expected = (loss, rank_me(features), feature_spread(features), scale, gain)
    assert (last[1], *last[3:]) == pytest.approx(
        tuple(map(float, expected)), rel=1e-4)
    assert (f'checkup: epoch 2, loss {last[1]:.4f} (at first {first[1]:.4f}), '
            f'held out {last[2]:.4f} ({first[2]:.4f}), RankMe {last[3]:.2f} '
            f'({first[3]:.2f}), spread {last[4]:.3f} ({first[4]:.3f}) (22 and '
            ) in log_of(runner)
    assert f's); learning: the held-out loss is {last[2]:.4g}, after ' in \
        log_of(runner)
    hub = runner.message_hub.get_scalar('checkup/rank_me').data[0]
    assert hub.tolist() == [checkup[3] for checkup in checkups_of(runner)]


def test_images_that_are_kept_back(checked_cfg, run):
    cfg = checked_cfg(**{
        'train_cfg.max_epochs': 1, 'log_level': 'INFO',
        'train_dataloader.dataset.type': 'amt_mm.ImageFolder',
        'train_dataloader.dataset.num_heldout': 5})
    cfg.default_hooks.checkup.pop('heldout')
    runner = run(cfg)
    dataset = unwrap(runner.train_dataloader.dataset)
    images, model = whole_images(dataset.held_out()), runner.model.eval()
    trained = {dataset.get_data_info(i)['img_path'] for i in range(17)}
    assert len(dataset) == 17 and len(images) == 5
    assert not trained & {images.get_data_info(i)['img_path']
                          for i in range(5)}
    inputs = model.data_preprocessor(dict(
        inputs=torch.stack([image['inputs'] for image in images]),
        data_samples=None))['inputs']
    generator, = find_transforms(dataset, AMTMaskGenerator)
    with torch.no_grad():
        loss = model.loss_given_plan(
            inputs, MaskPlan.from_flags(generator.fixed_plans(5)))
    assert checkups_of(runner)[-1][2] == pytest.approx(float(loss), rel=1e-4)
    assert '(17 and 5 images, ' in log_of(runner)
    cfg.train_dataloader.dataset.num_heldout = 22
    cfg.work_dir += '_b'
    with pytest.raises(ValueError, match=r'num_heldout must be an integer in '
                       r'\[0, 21\], got 22'):
        Runner.from_cfg(cfg).train()


def test_nothing_held_out_and_weights_that_are_not_finite(checked_cfg, run):
    cfg = checked_cfg(**{'train_cfg.max_epochs': 1,
                         f'{CHECKUP}num_images': 5, 'log_level': 'INFO'})
    cfg.default_hooks.checkup.pop('heldout')
    runner = run(cfg)
    assert not lines_of(scalars_of(runner), 'checkup/heldout_loss')
    assert '(5 images, ' in log_of(runner)
    runner.model.backbone.pos_embed.data.fill_(float('nan'))
    hook_of(runner, CheckupHook).check(runner, 9)
    last = lines_of(scalars_of(runner), 'checkup/loss')[-1]
    assert last['epoch'] == 9
    assert all(math.isnan(last[f'checkup/{name}'])
               for name in ('loss', 'rank_me', 'spread'))
