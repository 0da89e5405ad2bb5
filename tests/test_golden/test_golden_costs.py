"""What each config of pre-training will cost."""

from __future__ import annotations

from pathlib import Path

from small_configs import linear, read_config

from amt_mm.engine import estimate_cost

CONFIGS = Path(__file__).parents[2] / 'configs'


def estimate(name, num_processes=1, **options):
    """Return the estimate of a config, line by line."""
    cfg = read_config(name)
    cfg.merge_from_dict(options)
    return str(estimate_cost(cfg, num_processes)).splitlines()


def test_shipped_configs(golden):
    names = sorted(path.stem for path in CONFIGS.glob('*.py'))
    golden('costs', {name: estimate(name) for name in names})


def test_changed_configs(golden):
    demo = 'mae_amt_vit-t_30e_demo'
    generator = 'train_dataloader.dataset.pipeline.4'
    golden('costs_changed', {
        'eight processes, scaled': estimate(
            demo, 8, **{'auto_scale_lr.enable': True}),
        'accumulated': estimate(
            demo, 2, **{'optim_wrapper.accumulative_counts': 3}),
        'scheduled': estimate(demo, **{
            f'{generator}.mask_ratio': linear(.75, .3, 20, _delete_=True),
            f'{generator}.throw_ratio': linear(0., .5, 20, _delete_=True)}),
        'as shares': estimate(
            demo, **{'custom_hooks.1.begin': .5, 'custom_hooks.1.interval': 3,
                     'train_cfg.max_epochs': 40}),
        'never updated': estimate(demo, **{'custom_hooks.1.begin': 99}),
        'teacher': estimate(demo, **{'custom_hooks.1.source': dict(
            type='amt_mm.TeacherSaliency', checkpoint='teacher.pth',
            backbone=dict(type='mmpretrain.VisionTransformer',
                          arch='deit-small', img_size=64, patch_size=8))}),
    })
