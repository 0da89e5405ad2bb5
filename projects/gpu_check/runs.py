"""Real runs of mmengine's runners on the device."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import socket
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, RUNNERS
from mmengine.runner import Runner
from record import Recorder, Setting

from amt_mm.engine.fit_config import fit_machine
from amt_mm.engine.sources import ModelSaliency
from amt_mm.engine.whole_images import loader_in_order, whole_images
from projects.benchmark.workload import TINY, read_config
from projects.demo.demo_data import write_demo_data

CONFIG = 'mae_amt_vit-t_30e_demo'
NUM_IMAGES, BATCH, EPOCHS = 256, 32, 4
WARMUP, AMT = (48, 0, 16), (28, 26, 10)  # of 64 tokens
SAME = 1e-3  # relative, of losses that should be equal
NUMBERS = itertools.count()


@HOOKS.register_module(force=True)
class RecordCounts(Hook):
    """Record (epoch, masked, thrown, visible) of every batch."""

    def before_run(self, runner: Any) -> None:
        """Begin."""
        self.counts: set[tuple[int, ...]] = set()

    def after_train_iter(self, runner: Any, batch_idx: int,
                         data_batch: Any = None,
                         outputs: Any = None) -> None:
        """Count."""
        for sample in data_batch['data_samples']:
            self.counts.add((runner.epoch, *(
                int((sample.mask_plan == flag).sum()) for flag in (1, -1, 0))))


@HOOKS.register_module(force=True)
class StopAt(Hook):
    """End the run at an iteration, as a signal would."""

    def __init__(self, at: int) -> None:
        self.at = at

    def after_train_iter(self, runner: Any, batch_idx: int,
                         data_batch: Any = None,
                         outputs: Any = None) -> None:
        """End it."""
        if runner.iter == self.at:
            raise KeyboardInterrupt


def config(setting: Setting, name: str, saves: bool = False,
           **options: Any) -> Config:
    """Return the demo's config, with an update before epochs 1 and 3.

    One that ``saves`` does so every two epochs.
    """
    cfg = read_config(CONFIG)
    root = setting.scratch / f'runs-{os.getpid()}'
    cfg.merge_from_dict({
        'work_dir': str(root / name),
        'experiment_name': f'{name}-{next(NUMBERS)}',
        'train_dataloader.dataset.data_root': str(images(setting)),
        'train_dataloader.batch_size': setting.pick(BATCH, 8),
        'train_dataloader.num_workers': setting.pick(2, 0),
        'train_cfg.max_epochs': EPOCHS,
        'randomness': dict(seed=0, _delete_=True),
        'default_hooks.logger.interval': 1,
        # in each mmengine formats the config, which takes a second
        'default_hooks.checkpoint.interval': 2 if saves else EPOCHS + 1,
        'default_hooks.checkpoint.save_last': False,
        'log_level': 'WARNING'})
    if setting.toy:
        cfg.merge_from_dict({
            'model.backbone.arch': dict(TINY, _delete_=True),
            'model.neck.embed_dim': TINY['embed_dims'],
            'model.neck.decoder_depth': 1})
    cfg.custom_hooks[1].update(begin=1, interval=2)
    cfg.custom_hooks.append(dict(type='RecordCounts'))
    cfg.merge_from_dict(options)
    return cfg


def images(setting: Setting) -> Path:
    """Write the images, unless they are there."""
    root = setting.scratch / f'images-{os.getpid()}'
    if not root.exists():
        write_demo_data(root, num_train=setting.pick(NUM_IMAGES, 24),
                        num_val=2, image_size=64)
    return root / 'train'


def train(cfg: Config) -> Any:
    """Train, and return the runner."""
    fit_machine(cfg)
    build = RUNNERS.build if 'runner_type' in cfg else Runner.from_cfg
    runner = build(cfg)
    try:
        runner.train()
    finally:
        iterator = getattr(runner.train_dataloader, '_iterator', None)
        if iterator is not None and hasattr(iterator, '_shutdown_workers'):
            iterator._shutdown_workers()
    return runner


def losses(runner: Any) -> list[float]:
    """Return the loss of every iteration."""
    return runner.message_hub.log_scalars['train/loss'].data[0].tolist()


def apart(found: list[float], expected: list[float]) -> float:
    """Return the largest relative distance of two traces."""
    a, b = np.array(found), np.array(expected)
    if a.shape != b.shape or not np.isfinite([a, b]).all():
        raise ValueError(f'{len(found)} losses of {len(expected)}: {found}')
    return float(f'{np.abs(a / b - 1).max():.3g}')


def summary(runner: Any) -> dict[str, Any]:
    """Return what a run ended with."""
    hook = next(h for h in runner.hooks if isinstance(h, RecordCounts))
    store = next(h for h in runner.hooks if hasattr(h, 'store')).store
    trace = losses(runner)
    return dict(
        first_loss=trace[0], last_loss=trace[-1],
        counts=sorted(hook.counts), generation=store.generation,
        precision=type(runner.optim_wrapper).__name__,
        dtype=str(getattr(runner.optim_wrapper, 'cast_dtype', None)))


def run(setting: Setting, recorder: Recorder) -> None:
    """Stop and resume; the maps in two precisions; the loss scaler."""
    kept: dict[str, Any] = {}
    recorder.check('stop_and_resume', stop_and_resume, setting, kept)
    recorder.check('saliency_bf16', saliency_bf16, kept)
    recorder.check('fp16', float16, setting)
    recorder.check('fused', fused, setting)


def stop_and_resume(setting: Setting, kept: dict[str, Any]) -> dict[str, Any]:
    """Train without a stop, then with one in the third epoch."""
    whole = kept['runner'] = train(config(setting, 'whole'))
    per_epoch = len(losses(whole)) // EPOCHS
    cfg = config(setting, 'stopped', saves=True)
    cfg.custom_hooks.append(dict(type='StopAt', at=2 * per_epoch + 1))
    try:
        train(cfg)
    except KeyboardInterrupt:
        pass
    resumed = train(config(setting, 'stopped', resume=True))
    difference = apart(losses(resumed)[-2 * per_epoch:],
                       losses(whole)[-2 * per_epoch:])
    line = summary(whole)
    counts = [(0, *WARMUP), *((epoch, *AMT) for epoch in range(1, EPOCHS))]
    return dict(
        line, resumed_apart=difference,
        ok=line['counts'] == counts and line['generation'] == 3 and
        difference <= SAME)


def saliency_bf16(kept: dict[str, Any]) -> dict[str, Any]:
    """Compare the maps of the trained model in bfloat16 and float32."""
    runner = kept['runner']
    source = ModelSaliency()
    dataset = runner.train_dataloader.dataset
    device = next(runner.model.parameters()).device.type
    source.setup(runner, dataset, (8, 8))
    maps = {}
    for name, precision in dict(
            fp32=dict(enabled=False), bf16=dict(
                dtype=torch.bfloat16, device_type=device)).items():
        source.precision = precision
        loader = loader_in_order(
            whole_images(dataset, source.prepare), 32, 0)
        maps[name] = torch.cat([
            values.float().flatten(1).cpu()
            for _, values in source.maps(loader)])
    one, two = maps.values()
    correlation = torch.stack([
        torch.corrcoef(torch.stack(pair))[0, 1]
        for pair in zip(one, two, strict=True)])
    num_masked = AMT[0]
    top = [set(m.topk(num_masked).indices.tolist()) for m in (*one, *two)]
    shared = [len(a & b) / num_masked for a, b in zip(
        top[:len(one)], top[len(one):], strict=True)]
    return dict(
        images=len(one), correlation_mean=float(correlation.mean()),
        correlation_min=float(correlation.min()),
        largest_difference=float((one - two).abs().max()),
        shared_of_top_45_percent=float(np.mean(shared)),
        ok=bool(correlation.mean() > .99))


def float16(setting: Setting) -> dict[str, Any]:
    """Train in float16 with a dynamic loss scale."""
    runner = train(config(setting, 'fp16', **{
        'train_cfg.max_epochs': 2, 'optim_wrapper.dtype': 'float16',
        'optim_wrapper.loss_scale': 'dynamic'}))
    scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
    finite = all(p.isfinite().all() for p in runner.model.parameters())
    return dict(summary(runner), finite=bool(finite),
                scale=scaler.get_scale() if scaler else None,
                ok=bool(finite and np.isfinite(losses(runner)).all()))


def fused(setting: Setting) -> dict[str, Any]:
    """Train with fused AdamW, in float16 and as the device has it."""
    line: dict[str, Any] = dict(ok=True)
    for name, options in dict(auto={}, fp16={
            'optim_wrapper.dtype': 'float16',
            'optim_wrapper.loss_scale': 'dynamic'}).items():
        traces = [losses(train(config(
            setting, f'{name}-{kind}', **options, **{
                'train_cfg.max_epochs': 2,
                'optim_wrapper.optimizer.fused': kind})))
            for kind in (True, False)]
        line[f'{name}_apart'] = apart(*traces)
        line['ok'] = line['ok'] and line[f'{name}_apart'] <= 10 * SAME
    return line


def run_distributed(setting: Setting, recorder: Recorder) -> None:
    """One process of a group, wrapped by DDP and by FSDP.

    mmengine's ``Runner`` draws the initial weights where the model trains, its
    ``FlexibleRunner``, which FSDP needs, on the CPU: each is compared with
    itself.
    """
    flexible = dict(runner_type='FlexibleRunner')
    recorder.check('ddp', distributed, setting, 'ddp', {}, {})
    recorder.check('fsdp', distributed, setting, 'fsdp', flexible, dict(
        flexible, strategy=dict(type='amt_mm.AMTFSDPStrategy')))


def distributed(setting: Setting, name: str, alone: dict[str, Any],
                options: dict[str, Any]) -> dict[str, Any]:
    """Train in a group, stop, resume, and compare with no group."""
    short = {'train_cfg.max_epochs': 3}
    peer = train(config(setting, f'alone-{name}', **short, **alone))
    expected = losses(peer)
    per_epoch = len(expected) // 3
    for stop in (True, False):
        cfg = config(setting, name, stop, **{
            **short, **options, 'launcher': 'pytorch', 'resume': True})
        if stop:
            cfg.custom_hooks.append(dict(type='StopAt', at=2 * per_epoch))
        with alone_in_a_group():
            try:
                runner = train(cfg)
            except KeyboardInterrupt:
                continue
            backend = torch.distributed.get_backend()
    traces = losses(runner)
    difference = apart(traces[-per_epoch:], expected[-per_epoch:])
    return dict(summary(runner), backend=backend, apart=difference,
                peer=type(peer).__name__, peer_last_loss=expected[-1],
                wrapper=type(runner.model).__name__, ok=difference <= SAME)


@contextmanager
def alone_in_a_group() -> Iterator[None]:
    """Be the one process of a group that a launcher would have started."""
    with socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    names = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), RANK='0',
                 LOCAL_RANK='0', WORLD_SIZE='1')
    os.environ.update(names)
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name)
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def run_compiled(setting: Setting, recorder: Recorder) -> None:
    """Train with mmengine's ``compile``."""
    recorder.check('compiled_run', compiled, setting)


def compiled(setting: Setting) -> dict[str, Any]:
    """Compare with a run that is not compiled."""
    options: dict[str, Any] = {'train_cfg.max_epochs': 2}
    eager = losses(train(config(setting, 'eager', **options)))
    backend = setting.pick('inductor', 'eager')
    runner = train(config(setting, 'compiled', compile=dict(backend=backend),
                          **options))
    difference = apart(losses(runner), eager)
    return dict(
        summary(runner), backend=backend, apart=difference,
        compiled='the loss' if runner.cfg.model.get('compile_loss')
        else 'train_step', ok=difference <= 20 * SAME)

