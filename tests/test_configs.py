"""Every config parses, builds, and says what the paper says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import (
    HOOKS,
    MODELS,
    PARAM_SCHEDULERS,
    TRANSFORMS,
    init_default_scope,
)
from small_configs import read_config

from amt_mm.engine import estimate_cost

CONFIGS = Path(__file__).parents[1] / 'configs'
FILES = sorted(CONFIGS.glob('*.py'))
GOLDEN = Path(__file__).parent / 'golden' / 'costs.json'

# masked, thrown and visible tokens; updates
ROWS = {
    'mae_amt_vit-b_400e_in1k': ((88, 78, 30), range(40, 400, 40)),
    'mae_am_vit-b_400e_in1k': ((147, 0, 49), range(40, 400, 40)),
    'mae_random_vit-b_400e_in1k': ((147, 0, 49), range(0)),
    'mae_random_vit-b_200e_in1k': ((147, 0, 49), range(0)),
    'mae_am_vit-b_200e_in1k': ((147, 0, 49), range(40, 200, 40)),
    'mae_random-throw_vit-b_200e_in1k': ((88, 78, 30), range(0)),
    'mae_amt-75-10_vit-b_200e_in1k': ((147, 19, 30), range(40, 200, 40)),
    'mae_amt-throw-low_vit-b_200e_in1k': ((88, 78, 30), range(40, 200, 40)),
    'mae_amt_vit-b_200e_in1k': ((88, 78, 30), range(40, 200, 40)),
    'mae_amt-cross_vit-b_400e_in1k': ((88, 78, 30), range(40, 400, 40)),
    'mae_amt_vit-s_400e_in1k': ((88, 78, 30), range(40, 400, 40)),
    'mae_amt_vit-l_400e_in1k': ((88, 78, 30), range(40, 400, 40)),
    'mae_amt_vit-h14_400e_in1k': ((115, 102, 39), range(40, 400, 40)),
    'mae_amt_vit-s_custom': ((88, 78, 30), range(20, 200, 20)),
    'mae_amt_vit-s_bands': ((88, 78, 30), range(20, 200, 20)),
    'mae_amt_vit-b_custom': ((88, 78, 30), range(20, 200, 20)),
    'mae_amt_vit-l_custom': ((88, 78, 30), range(20, 200, 20)),
    'mae_amt_vit-h14_custom': ((115, 102, 39), range(20, 200, 20)),
    'mae_amt_vit-t_30e_demo': ((28, 26, 10), range(6, 30, 6)),
    'mae_pixel-amt_vit-mini_demo': ((25, 16, 23), range(0, 1)),
    'mae_detail-am_vit-s_custom': ((147, 0, 49), range(0, 1)),
    'mae_detail-am_vit-b_400e_in1k': ((147, 0, 49), range(0, 1)),
    'simmim_random_vit-b_200e_in1k': ((120, 0, 76), range(0)),
    'simmim_am_vit-b_200e_in1k': ((120, 0, 76), range(40, 200, 40)),
    'simmim_amt_vit-b_200e_in1k': ((88, 52, 56), range(40, 200, 40)),
    'simmim_amt-33-50_vit-b_200e_in1k': ((68, 100, 28), range(40, 200, 40)),
    'simmim_amt_vit-s_custom': ((88, 52, 56), range(40, 200, 40)),
    'maskfeat_amt_vit-b_300e_in1k': ((54, 59, 83), range(40, 300, 40)),
    'maskfeat_amt_vit-s_custom': ((54, 59, 83), range(20, 200, 20)),
}


def test_basenames_are_unique():
    names = [path.name for path in CONFIGS.rglob('*.py')]
    assert len(names) == len(set(names))


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_config_builds(path):
    cfg = read_config(path)
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    for step in cfg.train_dataloader.dataset.pipeline:
        TRANSFORMS.build(step)
    for hook in cfg.custom_hooks:
        HOOKS.build(hook)
    end = cfg.train_cfg.max_epochs
    assert all(step.get('end', end) <= end for step in cfg.param_scheduler)
    assert hasattr(model, 'saliency')
    assert path.read_text().startswith('"""')


def test_golden_costs_have_the_counts_of_the_paper():
    """And the updates; test_golden_costs.py computes them."""
    costs = json.loads(GOLDEN.read_text())
    assert costs.keys() == ROWS.keys() == {path.stem for path in FILES}
    for name, ((masked, thrown, visible), updates) in ROWS.items():
        text = '\n'.join(costs[name])
        counts = re.findall(r'training .* epochs: (.*?) of \d+ tokens',
                            text.replace(' (44 predicted)', ''))
        assert counts == [
            f'{masked} masked, {thrown} thrown, {visible} visible'], name
        before = re.findall(r'updated before epochs \(0-based\): (.*?);', text)
        assert before == [', '.join(map(str, updates)) or 'never'], name


@pytest.mark.parametrize('name', [
    'mae_amt_vit-b_custom', 'simmim_amt_vit-s_custom',
    'maskfeat_amt_vit-s_custom'])
def test_widths_follow_from_the_backbone(name):
    """By ``model.backbone.arch`` alone, where the config says no width."""
    cfg = read_config(name)
    init_default_scope(cfg.default_scope)
    cfg.merge_from_dict({'model.backbone.arch': 'deit-tiny',
                         'model.backbone.patch_size': 32})
    for part in ('neck', 'head', 'target_generator'):
        for key in ('in_channels', 'encoder_stride', 'patch_size'):
            cfg.model.get(part, {}).pop(key, None)
    if name.startswith('maskfeat'):
        cfg.model.neck.out_channels = 9 * 3 * 16
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert model.backbone.embed_dims == 192
    assert all(got == expected for got, expected, _ in model.sizes().values())


def test_saliency_of_a_given_encoder_from_the_start():
    cfg = read_config('mae_amt_vit-b_custom')
    cfg.merge_from_dict({'custom_hooks.1.begin': 0})
    plan = estimate_cost(cfg)
    assert list(plan.updates) == list(range(0, 200, 20))
    assert tuple(plan.phases[-1].counts) == (88, 78, 30)


def test_cost_of_the_flagship():
    """The shares of the paper's 45/40, counted and not assumed."""
    plan = estimate_cost(
        read_config('mae_amt_vit-b_400e_in1k'))
    warmup, training = plan.phases
    assert tuple(warmup.counts) == (147, 0, 49)
    assert training.macs / plan.stock_macs == pytest.approx(0.602, abs=1e-3)
    assert plan.cost == pytest.approx(0.654, abs=2e-3)
    assert plan.batch_size == 512 and plan.lr == pytest.approx(2.4e-3)


def test_cost_of_half_predicted_by_cross_attention():
    cross = read_config('mae_amt-cross_vit-b_400e_in1k')
    plan, amt = (estimate_cost(cfg) for cfg in (
        cross, read_config('mae_amt_vit-b_400e_in1k')))
    warmup, training = plan.phases
    assert '147 masked (73 predicted), 0 thrown' in str(warmup)
    assert '88 masked (44 predicted), 78 thrown, 30 visible' in str(training)
    assert training.encoder_macs == amt.phases[1].encoder_macs
    # of a layer: the queries and their projection, keys and values of 31
    # tokens, attention, a hidden layer of four widths; then the pixels
    d, queries, memory = 512, 44, 31
    layer = queries * (2 + 8) * d * d + memory * 768 * 2 * d + \
        2 * queries * memory * d
    forward = 8 * layer + queries * d * 768
    decoder = training.macs - training.encoder_macs
    # backward takes twice that, and attention once more what it recomputes
    assert 3 * forward <= decoder <= 3.05 * forward
    # what throws nothing and predicts all is what the shares are of
    cross.merge_from_dict({'train_dataloader.dataset.pipeline.4': dict(
        cross.train_pipeline[4], predict_ratio=1.)})
    whole = estimate_cost(cross)
    assert whole.phases[0].macs == whole.stock_macs == plan.stock_macs
    assert warmup.macs < plan.stock_macs


@pytest.mark.parametrize('name, share, kept', [
    ('simmim_am_vit-b_200e_in1k', 1, 196),
    ('simmim_amt_vit-b_200e_in1k', 0.730, 144),
    ('simmim_amt-33-50_vit-b_200e_in1k', 0.486, 96)])
def test_cost_of_simmim(name, share, kept):
    plan = estimate_cost(read_config(name))
    warmup, training = plan.phases
    assert tuple(warmup.counts) == (120, 0, 76)
    assert training.counts.masked + training.counts.visible == kept
    assert training.macs / plan.stock_macs == pytest.approx(share, abs=5e-3)


def test_simmim_steps_its_rate_at_seven_eighths():
    """mmengine counts the milestones of a scheduler from its begin."""
    cfg = read_config('simmim_amt_vit-b_200e_in1k')
    init_default_scope(cfg.default_scope)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=4.)
    schedulers = []
    for options in cfg.param_scheduler:
        options = options.to_dict()
        options.pop('convert_to_iter_based')
        cls = PARAM_SCHEDULERS.get(options.pop('type'))
        schedulers.append(cls(optimizer=optimizer, **options))
    rates = []
    for _ in range(cfg.train_cfg.max_epochs):
        rates.append(optimizer.param_groups[0]['lr'])
        for scheduler in schedulers:
            scheduler.step()
    assert rates[0] == pytest.approx(0.02)
    assert rates[10:175] == pytest.approx([4.] * 165)
    assert rates[175:] == pytest.approx([0.4] * 25)


def test_simmim_decays_the_matrices_only():
    cfg = read_config('simmim_amt_vit-b_200e_in1k')
    init_default_scope(cfg.default_scope)
    cfg.optim_wrapper.type = 'OptimWrapper'
    for vit in ('AMTSimMIMViT', 'AMTBEiTPretrainViT'):
        cfg.model.backbone.type = f'amt_mm.{vit}'
        with torch.device('meta'):
            model = MODELS.build(cfg.model)
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        decayed = {
            id(p)
            for group in wrapper.optimizer.param_groups
            if group['weight_decay'] for p in group['params']
        }
        names = {n for n, p in model.named_parameters() if id(p) in decayed}
        assert {name.split('.')[-1] for name in names} == {
            'weight', 'mask_token'}
        assert not any('ln' in name for name in names)


def test_run_shorter_than_its_warm_up_is_refused():
    cfg = read_config('mae_amt_vit-b_400e_in1k')
    cfg.train_cfg.max_epochs = 40
    message = r'param_scheduler\.1\.begin must be < max_epochs, got 40 and 40'
    with pytest.raises(ValueError, match=message):
        estimate_cost(cfg)
    cfg.train_cfg.max_epochs = 1600
    assert estimate_cost(cfg).updates == range(40, 1600, 40)


def test_effective_batch_and_rate():
    cfg = read_config('mae_amt_vit-b_400e_in1k')
    assert 'as in the config' in str(estimate_cost(cfg, world_size=8))
    assert 'meant for a batch of 4096' in str(estimate_cost(cfg))
    cfg.auto_scale_lr.enable = True
    assert estimate_cost(cfg).lr == pytest.approx(2.4e-3 / 8)


def test_table_of_configs_is_that_of_the_files(monkeypatch):
    """With the golden numbers, which are those that the tool works out."""
    monkeypatch.syspath_prepend(str(CONFIGS.parent / 'tools'))
    import list_configs
    golden = json.loads(GOLDEN.read_text())

    def numbers(path):
        text = '\n'.join(golden[path.stem])
        counts = re.search(r'training .* epochs: (.*?) of', text).group(1)
        cost = re.search(r'whole run: (\S+) of', text).group(1)
        return re.sub(r' (masked|thrown|visible)', '',
                      counts).replace(',', ' /'), cost

    assert (CONFIGS / 'README.md').read_text() == list_configs.table(numbers)
    for name in ('mae_pixel-amt_vit-mini_demo', 'mae_amt-cross_vit-b_400e_in1k'
                 ):
        path = CONFIGS / f'{name}.py'
        assert list_configs.tokens_and_cost(path) == numbers(path)
