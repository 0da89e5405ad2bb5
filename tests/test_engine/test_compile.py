"""A run whose loss is compiled."""

from __future__ import annotations

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from processes import train_together
from tiny_run import hook_of, loss_trace
from torch._dynamo.utils import counters

from amt_mm.engine import estimate_cost
from amt_mm.engine.fit_config import fit_machine

# no code of inductor's, which needs a C++ compiler; the graphs are the same
BACKEND = dict(backend='aot_eager')


@HOOKS.register_module(force=True)
class CountGraphs(Hook):
    """Count what torch has compiled so far, after each iteration."""

    def before_train(self, runner):
        torch._dynamo.reset()
        counters.clear()
        self.found = []

    def after_train_iter(self, runner, batch_idx, data_batch=None,
                         outputs=None):
        self.found.append(counters['stats']['unique_graphs'])


def fifty_steps(tiny_cfg, name, **options):
    cfg = tiny_cfg(name, **options, **{
        'train_cfg.max_epochs': 10, 'train_dataloader.dataset.indices': 20,
        'train_dataloader.batch_size': 2,
        'default_hooks.checkpoint.interval': 99,
        'custom_hooks.1.interval': 99})
    cfg.custom_hooks.append(dict(type='CountGraphs'))
    return cfg


def _save_run(rank, runner):
    hook = hook_of(runner, CountGraphs)
    torch.save(
        dict(losses=loss_trace(runner).tolist(), graphs=hook.found,
             breaks=sum(counters['graph_break'].values())),
        f'{runner.work_dir}/{rank}.pth')


def test_one_graph_for_all_plans_of_the_same_counts(tiny_cfg):
    """5 steps at the ratios of the warm-up and 45 at others.

    What is compiled runs in new processes: torch cannot fork afterwards.
    """
    found = {}
    for name, start_method, options in (
            ('plain', 'fork', {}),
            ('compiled', 'forkserver', {'model.compile_loss': BACKEND})):
        cfg = fifty_steps(tiny_cfg, name, **options)
        assert train_together([cfg] * 2, inspect=_save_run,
                              start_method=start_method) == [None] * 2
        found[name] = [torch.load(f'{cfg.work_dir}/{rank}.pth')
                       for rank in (0, 1)]
    for plain, compiled in zip(*found.values(), strict=True):
        assert compiled['losses'] == pytest.approx(plain['losses'], rel=1e-5)
        assert plain['graphs'] == [0] * 50
        assert compiled['graphs'] == [1] * 5 + [2] * 45
        assert compiled['breaks'] == 0


def test_compile_of_a_config_is_that_of_the_loss(tiny_cfg):
    """mmengine's own makes 17 graphs of a step, and compiles some anew."""
    cfg = tiny_cfg(compile=BACKEND)
    fit_machine(cfg)
    assert cfg.model.compile_loss == BACKEND and 'compile' not in cfg
    cfg = tiny_cfg(compile=BACKEND)
    cfg.model.type = 'mmpretrain.MAE'
    fit_machine(cfg)
    assert 'compile_loss' not in cfg.model and cfg.compile == BACKEND


def test_the_cost_is_that_of_the_loss_not_compiled(tiny_cfg):
    graphs = counters['stats']['unique_graphs']
    plans = [str(estimate_cost(tiny_cfg(**{'model.compile_loss': value}), 1))
             for value in (False, BACKEND)]
    assert plans[0] == plans[1]
    assert counters['stats']['unique_graphs'] == graphs


def test_compile_loss_is_checked(tiny_cfg, run):
    with pytest.raises(TypeError, match='compile_loss must be True or False'):
        run(tiny_cfg(**{'model.compile_loss': 'fast'}))
