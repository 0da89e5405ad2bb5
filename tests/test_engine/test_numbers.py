"""Losses, gradients and maps that are not finite, in real runs."""

from __future__ import annotations

import json
import math
import re
import traceback
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper, build_optim_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from processes import train_together
from tiny_run import (
    FSDP,
    NUM_IMAGES,
    assert_same_weights,
    hook_of,
    lines_of,
    log_of,
    loss_trace,
    scalars_of,
    store_of,
)
from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler
from torch.utils._foreach_utils import _get_fused_kernels_supported_devices
from torch.utils._python_dispatch import TorchDispatchMode

from amt_mm.compatibility import has_amx
from amt_mm.engine import optimizers
from amt_mm.engine.fit_config import fit_machine
from amt_mm.engine.fit_size import precision
from amt_mm.engine.fsdp_strategy import AMTFSDPStrategy
from amt_mm.engine.hooks import NonFiniteHook
from amt_mm.engine.sources.model_saliency import precision_of, unwrap_model


@HOOKS.register_module(force=True)
class Spoil(Hook):
    """Spoil the images, loss, gradients or weights of some iterations."""

    def __init__(self, at, what='inputs'):
        self.at, self.what = at, what  # at: of all processes, or by rank

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        at = self.at.get(runner.rank, []) if isinstance(
            self.at, dict) else self.at
        self.is_due = runner.iter in at
        if self.is_due and self.what == 'inputs':
            data_batch['inputs'] = data_batch['inputs'] * math.nan

    def before_train(self, runner):
        self.weights = []
        if self.what == 'gradients':
            weight = unwrap_model(runner).backbone.cls_token
            weight.register_hook(
                lambda g: g * math.inf if self.is_due else g)
        if self.what == 'loss':
            model = unwrap_model(runner)
            genuine = model.loss
            model.loss = lambda *args: {
                k: v + math.inf if self.is_due else v
                for k, v in genuine(*args).items()}

    def after_train_iter(self, runner, batch_idx, data_batch=None,
                         outputs=None):
        if self.is_due and self.what == 'weights':
            unwrap_model(runner).backbone.cls_token.data.fill_(math.inf)
        self.weights.append(torch.cat([
            p.detach().flatten() for p in runner.model.parameters()]).clone())


@HOOKS.register_module(force=True)
class CountWaits(Hook):
    """Count what NonFiniteHook reads off the device and reduces.

    Not counted is what it does for the step before, and for a checkpoint.
    """

    def before_train(self, runner):
        class Count(TorchDispatchMode):
            found: list[str] = []

            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                if func.name().startswith(('aten::_local_scalar_dense',
                                           'aten::is_nonzero', 'c10d::')):
                    names = {f.name for f in traceback.extract_stack()
                             if 'non_finite_hook' in f.filename}
                    if names and not names & {
                            '_report', 'before_save_checkpoint'}:
                        self.found.append(func.name())
                return func(*args, **(kwargs or {}))

        self.mode = Count()
        self.mode.__enter__()

    def after_train(self, runner):
        self.mode.__exit__(None, None, None)
        text = json.dumps(self.mode.found)
        Path(runner.work_dir, f'waits_{runner.rank}.json').write_text(text)


def waits_of(cfg, rank=0):
    return json.loads(Path(cfg.work_dir, f'waits_{rank}.json').read_text())


def moves_of(runner):
    """Return whether the weights changed, by iteration after the first."""
    weights = hook_of(runner, Spoil).weights
    assert all(w.isfinite().all() for w in weights)
    return [not torch.equal(*pair) for pair in pairwise(weights)]


def spoiled(tiny_cfg, at, what='inputs', **options):
    cfg = tiny_cfg(**options)
    cfg.custom_hooks.append(dict(type='Spoil', at=at, what=what))
    return cfg


@pytest.mark.parametrize('what, fused', [
    ('inputs', True), ('loss', None), ('gradients', None),
    ('gradients', True)])
def test_a_bad_step_is_skipped_and_named(tiny_cfg, run, what, fused):
    """Also the last one of a run; if it is fused, the host never waits."""
    cfg = spoiled(tiny_cfg, [3, 11], what, **{
        'train_cfg.max_epochs': 2, 'optim_wrapper.optimizer.fused': fused})
    cfg.custom_hooks.append(dict(type='CountWaits'))
    runner = run(cfg)
    assert moves_of(runner) == [i not in (3, 11) for i in range(1, 12)]
    assert len(waits_of(cfg)) == (0 if fused else 12)
    # the optimiser knows nothing of the two
    assert {float(state['step']) for state in
            runner.optim_wrapper.optimizer.state.values()} == {10.}
    log = log_of(runner)
    assert 'step skipped, 1 of at most 10' in log
    assert 'step skipped, 2 of at most 10' in log
    assert 'at epoch 1, iteration 4' in log
    assert 'at epoch 2, iteration 12' in log
    if what != 'gradients':
        assert log.count('.jpg') >= 6  # batches of four files and of two
    else:
        assert 'the gradients are not finite, though the loss is' in log


def test_too_many_stop_the_run_with_the_files(tiny_cfg, run):
    cfg = spoiled(tiny_cfg, range(8, 99))
    with pytest.raises(FloatingPointError) as caught:
        run(cfg)
    message = str(caught.value)
    assert "the loss of the batch of ['/" in message and '.jpg' in message
    assert 'is not finite at epoch 4, iteration 19' in message
    assert 'happened 11 times in 1,000 iterations, more than max_skips 10' in \
        message
    for epoch in (1, 2, 3):
        state = torch.load(f'{cfg.work_dir}/epoch_{epoch}.pth',
                           weights_only=False)['state_dict']
        assert all(value.isfinite().all() for value in state.values())


def test_old_skips_are_forgotten(tiny_cfg, run):
    cfg = spoiled(tiny_cfg, [0, 6, 12], **{'train_cfg.max_epochs': 3})
    cfg.custom_hooks[4].update(max_skips=2, window=12)
    assert cfg.custom_hooks[4].type == 'amt_mm.NonFiniteHook'
    runner = run(cfg)
    assert runner.iter == 18
    assert list(hook_of(runner, NonFiniteHook).skipped_at) == [6, 12]


def test_accumulated_gradients_are_skipped_whole(tiny_cfg, run):
    runner = run(spoiled(tiny_cfg, [1], **{
        'train_cfg.max_epochs': 1, 'optim_wrapper.accumulative_counts': 3}))
    # that of 0 to 2 is skipped, that of 3 to 5 is not
    assert moves_of(runner) == [False] * 4 + [True]
    assert log_of(runner).count('step skipped') == 2  # loss, then gradients


def test_nothing_changes_where_all_is_finite(tiny_cfg, run, finished):
    cfg = tiny_cfg('without', **{'train_cfg.max_epochs': 1})
    assert cfg.custom_hooks.pop(4).type == 'amt_mm.NonFiniteHook'
    checkpoint = torch.load(finished(1)[0] / 'epoch_1.pth',
                            weights_only=False)
    assert_same_weights(run(cfg).model, checkpoint['state_dict'])


def test_weights_that_are_not_finite_are_not_saved(tiny_cfg):
    """An update overflows, with loss and gradients that are finite."""
    cfg = spoiled(tiny_cfg, [2], 'weights', **{'train_cfg.max_epochs': 1})
    first, second = train_together([cfg] * 2)
    assert 'cls_token' in first
    assert 'are not finite at epoch 1, and are not saved' in first
    assert 'cannot save the checkpoint' in second
    assert not list(Path(cfg.work_dir).glob('epoch_1.pth*'))


@pytest.mark.parametrize('sharded', [False, True])
def test_processes_skip_together(tiny_cfg, sharded):
    """One number is reduced where gradients are sharded, else nothing."""
    cfg = spoiled(tiny_cfg, {1: [1]}, **(FSDP if sharded else {}), **{
        'train_cfg.max_epochs': 1, 'optim_wrapper.optimizer.fused': True,
        'default_hooks.checkpoint.interval': 9})
    cfg.custom_hooks.append(dict(type='CountWaits'))
    assert train_together([cfg] * 2, inspect=save_moves) == [None] * 2
    for rank in (0, 1):
        moved = json.loads(Path(cfg.work_dir, f'{rank}.json').read_text())
        assert moved == [False, True]  # by the iterations 1 and 2 of 3
        found = waits_of(cfg, rank)
        assert sum('allreduce' in name for name in found) == 3 * sharded
        assert not any('aten' in name for name in found)
    log = next(Path(cfg.work_dir).glob('*/*.log')).read_text()
    assert re.search(r"\.jpg'] on rank 1 is not finite", log)


def save_moves(rank, runner):
    text = json.dumps(moves_of(runner))
    Path(runner.work_dir, f'{rank}.json').write_text(text)


# ---- maps


def test_maps_that_say_nothing_are_counted(tiny_cfg):
    cfg = tiny_cfg(log_level='INFO', **{'train_cfg.max_epochs': 2})
    runner = Runner.from_cfg(cfg)
    model = unwrap_model(runner)
    genuine, values = model.saliency, iter([math.nan, math.inf, 0.])

    def saliency(inputs):
        maps = genuine(inputs)
        maps[0] = next(values, maps[0])
        return maps

    model.saliency = saliency
    runner.train()
    assert f'saliency updated: epoch 1, {NUM_IMAGES} images, 3 uniform' in \
        log_of(runner)
    maps = np.load(store_of(runner).path(1))['map']
    assert np.isfinite(maps).all()
    assert np.flatnonzero((maps == 0).all((1, 2))).tolist() == [0, 4, 8]
    assert all(math.isfinite(line['loss'])
               for line in lines_of(scalars_of(runner), 'loss'))


# ---- precision


ADAM = dict(type='AdamW', lr=.1, betas=(.8, .9))


def build(**options):
    return build_optim_wrapper(torch.nn.Linear(2, 2), dict(
        type='amt_mm.AutoPrecisionOptimWrapper', optimizer=ADAM, **options))


@pytest.fixture
def device(monkeypatch):
    """Pretend to have a device that has, or has not, bfloat16."""

    def pretend(bfloat16):
        monkeypatch.setattr(optimizers, 'has_accelerator', lambda: True)
        monkeypatch.setattr(optimizers, 'has_bfloat16', lambda: bfloat16)
        monkeypatch.setattr(
            'mmengine.optim.optimizer.amp_optimizer_wrapper'
            '.is_cuda_available', lambda: True)

    return pretend


# torch warns that there is no device for the scaler
no_scaler = pytest.mark.filterwarnings(
    'ignore:.*GradScaler is enabled')


@pytest.fixture
def log(monkeypatch):
    """Collect the lines of the log."""
    lines = []
    monkeypatch.setattr(optimizers, 'print_log',
                        lambda text, _: lines.append(text))
    return lines


@no_scaler
@pytest.mark.parametrize('bfloat16, options, dtype, max_norm', [
    (True, {}, torch.bfloat16, None),
    (True, dict(dtype='float32'), None, None),
    (False, {}, torch.float16, 3.),
    (False, dict(clip_grad=dict(max_norm=5.)), torch.float16, 5.)])
def test_precision_follows_the_device(device, bfloat16, options, dtype,
                                      max_norm):
    """That of the maps, too."""
    device(bfloat16)
    wrapper = build(loss_scale='dynamic', **options)
    assert isinstance(wrapper, AmpOptimWrapper) is (dtype is not None)
    assert (wrapper.clip_grad_kwargs or {}).get('max_norm') == max_norm
    assert precision_of(SimpleNamespace(optim_wrapper=wrapper)) == dict(
        enabled=dtype is not None, dtype=dtype)
    if dtype is torch.bfloat16:
        assert not wrapper.loss_scaler.is_enabled()


@pytest.mark.parametrize('has_amx, asked, dtype, line', [
    (True, None, torch.bfloat16, 'training in bfloat16 on the matrix units'),
    (True, 'bfloat16', torch.bfloat16, 'training in bfloat16'),
    (True, torch.float32, None, None),
    (True, 'float16', None, 'dtype float16: .* training in float32'),
    (False, None, None, None),
    (False, torch.bfloat16, None, 'dtype bfloat16: .* training in float32')])
def test_precision_of_a_cpu(monkeypatch, log, has_amx, asked, dtype, line):
    monkeypatch.setattr(optimizers, 'has_amx', lambda: has_amx)
    wrapper = build(dtype=asked, loss_scale='dynamic', use_fsdp=True,
                    clip_grad=dict(max_norm=5.))
    assert precision_of(SimpleNamespace(optim_wrapper=wrapper)) == dict(
        enabled=dtype is not None, dtype=dtype)
    assert wrapper.clip_grad_kwargs['max_norm'] == 5.
    own = [text for text in log if 'fused' not in text]
    assert len(own) == (line is not None)
    assert line is None or re.search(line, own[0])
    with wrapper.optim_context(None):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (dtype or torch.float32)
    assert precision().value == ('bfloat16' if has_amx else 'float32')


def test_a_precision_must_be_known():
    with pytest.raises(ValueError, match=r"dtype must be .*, got 'bf16'"):
        build(dtype='bf16')


@pytest.mark.parametrize('kind, model, left', [
    ('AmpOptimWrapper', 'amt_mm.AMTMAE', dict(type='OptimWrapper')),
    ('amt_mm.AutoPrecisionOptimWrapper', 'mmdet.MaskRCNN', dict(
        type='amt_mm.AutoPrecisionOptimWrapper', dtype='float32')),
    ('amt_mm.AutoPrecisionOptimWrapper', 'amt_mm.AMTMAE', None)])
def test_mixed_precision_on_a_cpu_is_for_models_of_ours(
        monkeypatch, kind, model, left):
    """RoIAlign has none in bfloat16, for one."""
    lines = []
    monkeypatch.setattr('amt_mm.engine.fit_config.print_log',
                        lambda text, **_: lines.append(text))
    wrapper = dict(type=kind)
    cfg = Config(dict(model=dict(type=model), optim_wrapper=wrapper))
    fit_machine(cfg)
    assert cfg.optim_wrapper == (left or wrapper)
    assert len(lines) == (left is not None)


@pytest.mark.parametrize('isa, allowed', [
    (None, True), ('default', True), ('AVX512_CORE_AMX', True),
    ('AVX2', False), ('AVX512_CORE_FP16', False)])
def test_amx_is_what_onednn_may_use(monkeypatch, isa, allowed):
    for name in ('_is_amx_tile_supported', '_init_amx'):
        monkeypatch.setattr(torch.cpu, name, lambda: True, raising=False)
    monkeypatch.delenv('ONEDNN_MAX_CPU_ISA')
    if isa:
        monkeypatch.setenv('ONEDNN_MAX_CPU_ISA', isa)
    assert has_amx() is allowed


def test_a_run_on_a_cpu_with_amx(tiny_cfg, run, monkeypatch):
    """Its losses are those of float32, nearly, and its maps as well."""
    found = {}
    for dtype in ('bfloat16', 'float32'):
        cfg = tiny_cfg(dtype, **{
            'optim_wrapper.type': 'amt_mm.AutoPrecisionOptimWrapper'})
        monkeypatch.setattr(optimizers, 'has_amx',
                            lambda dtype=dtype: dtype == 'bfloat16')
        runner = run(cfg)
        assert {p.dtype for p in runner.model.parameters()} == {torch.float32}
        found[dtype] = loss_trace(runner), np.load(
            store_of(runner).path(1))['map']
    (loss, maps), (exact, exact_maps) = found.values()
    assert 0 < abs(np.subtract(loss, exact)).max() < .02 * np.max(exact)
    assert 0 < abs(maps - exact_maps).max() < .1


@no_scaler
def test_sharded_processes_have_a_common_loss_scale(device):
    device(bfloat16=False)
    wrapper = AMTFSDPStrategy().build_optim_wrapper(
        ConfigDict(type='amt_mm.AutoPrecisionOptimWrapper', optimizer=ADAM),
        torch.nn.Linear(2, 2))
    assert isinstance(wrapper.loss_scaler, ShardedGradScaler)


@pytest.mark.parametrize('first', [True, False])
def test_checkpoints_move_between_precisions(device, first):
    """Trained in bfloat16, resumed in float32; and the other way round."""
    if first:
        device(bfloat16=True)
    state = build().state_dict()
    assert ('loss_scaler' in state) is first
    if not first:
        device(bfloat16=True)
    build().load_state_dict(state)


@pytest.mark.parametrize('kind', ['cpu', 'cuda'])
@pytest.mark.parametrize('asked', [{}, dict(foreach=True), dict(fused=False)])
def test_the_optimizer_is_fused(kind, asked, log):
    if kind not in _get_fused_kernels_supported_devices() or (
            kind == 'cuda' and not torch.cuda.is_available()):
        pytest.skip(f'no fused optimiser on {kind}')

    def make():
        model = torch.nn.Linear(2, 2, device=kind)
        return model, build_optim_wrapper(model, dict(
            type='amt_mm.AutoPrecisionOptimWrapper',
            optimizer=dict(ADAM, **asked)))

    model, wrapper = make()
    (group, *_), is_fused = wrapper.optimizer.param_groups, not asked
    assert bool(group['fused']) is is_fused
    assert [text.split()[0] for text in log] == ['AdamW'] * is_fused
    assert (group['lr'], group['betas']) == (.1, (.8, .9))
    wrapper.update_params(model(torch.ones(1, 2, device=kind)).sum())
    state = wrapper.state_dict()
    # whichever device resumes decides for itself
    assert not state['param_groups'][0]['fused']
    _, other = make()
    other.load_state_dict(state)
    assert bool(other.optimizer.param_groups[0]['fused']) is is_fused
