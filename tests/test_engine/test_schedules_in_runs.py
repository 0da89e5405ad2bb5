"""Schedules as the workers of a real run see them."""

from __future__ import annotations

from tiny_run import WORKERS, recorded, store_of

from amt_mm.engine import estimate_cost


def linear(start, end, until, begin=0):
    return dict(type='amt_mm.LinearSchedule', start=start, end=end,
                begin=begin, until=until)


def test_persistent_workers_follow_schedule_and_updates(tiny_cfg, run):
    cfg = tiny_cfg(**WORKERS, **{
        'train_dataloader.multiprocessing_context': 'forkserver'})
    cfg.train_dataloader.dataset.pipeline[4].update(
        mask_ratio=linear(.75, .375, until=4, begin=1),
        throw_ratio=linear(0., .375, until=4, begin=1),
        ordering=dict(type='amt_mm.AttentionOrdering',
                      temperature=linear(4., 1., until=4)))
    cfg.custom_hooks.append(dict(type='RecordPlans'))
    expected = [(0, 12, 0, 4), (1, 12, 0, 4), (2, 10, 2, 4), (3, 8, 4, 4),
                (4, 6, 6, 4)]
    runner = run(cfg)
    assert recorded(runner) == expected
    assert store_of(runner).generations == [1, 3]
    assert store_of(runner).generation == 3
    plan = estimate_cost(cfg)
    training = plan.phases[1]
    assert training.counts == (12, 0, 4)
    assert training.last_counts == (6, 6, 4)
    assert ('4 epochs: 12 masked, 0 thrown, 4 visible at first, at last 6 '
            'masked, 6 thrown, 4 visible of 16 tokens') in str(plan)
    assert training.macs < plan.stock_macs


def test_a_resumed_run_follows_the_schedule_of_its_config(tiny_cfg, run):
    def make(epochs, until):
        cfg = tiny_cfg('run', resume=True, **{
            'train_cfg.max_epochs': epochs,
            'train_dataloader.dataset.indices': 8})
        cfg.train_dataloader.dataset.pipeline[4].update(
            mask_ratio=linear(.75, .375, until, begin=1),
            throw_ratio=linear(0., .375, until, begin=1))
        cfg.custom_hooks.append(dict(type='RecordPlans'))
        return cfg

    assert recorded(run(make(2, until=4))) == [(0, 12, 0, 4), (1, 12, 0, 4)]
    assert recorded(run(make(4, until=3))) == [(2, 9, 3, 4), (3, 6, 6, 4)]
