"""Run a changed config, and say whether it did what it says.

    python tests/fuzz_trial.py 2000 7

tries 2000 changes from seed 7 on and prints what came out wrong.
"""
from __future__ import annotations

import math
import os
import random
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fuzz_configs import (
    BATCH_SIZE,
    EPOCHS,
    NO_CHANGE,
    NUM_IMAGES,
    Change,
    change,
    configs,
    write_files,
)
from mmcv.cnn.bricks import DropPath
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import HOOKS, DefaultScope
from mmengine.runner import Runner
from mmengine.runner import runner as runner_module
from mmengine.visualization import Visualizer

from amt_mm.datasets.training_set import unwrap
from amt_mm.masking import MaskPlan

ERRORS = (ValueError, TypeError, KeyError)
MEMORY = 4 << 30  # bytes beyond what the libraries take


class Outcome(NamedTuple):
    """What became of one change."""

    job: int | str
    base: str
    change: str
    result: str  # 'run', the name of an error, or 'wrong'
    text: str
    seconds: float


@HOOKS.register_module(force=True)
class Batches(Hook):
    """Remember the shape, the grid and the counts of every batch."""

    def before_run(self, runner: Runner) -> None:
        self.seen: dict[int, list] = {}
        self.losses: list[float] = []

    def after_train_iter(self, runner: Runner, batch_idx: int,
                         data_batch: Any = None, outputs: Any = None) -> None:
        self.losses.append(outputs['loss'].item())
        plans = [sample.mask_plan for sample in data_batch['data_samples']]
        self.seen.setdefault(runner.epoch, []).extend(
            (tuple(image.shape), plan.shape,
             tuple(int((plan == flag).sum()) for flag in (1, -1, 0)))
            for image, plan in zip(data_batch['inputs'], plans, strict=True))
        self.data = data_batch


def limit_memory() -> None:
    """Make an allocation of many gigabytes an error."""
    used = int(Path('/proc/self/statm').read_text().split()[0])
    limit = used * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def get_ready(root: Path) -> None:
    """Prepare a process for many trials."""
    torch.set_num_threads(1)
    warnings.simplefilter('error')
    for package in ('torch', 'mmengine', 'mmcv', 'mmpretrain'):
        warnings.filterwarnings('ignore', module=rf'{package}(\..*)?')
    # it asks compilers and drivers for their versions, a second each time
    runner_module.collect_env = dict
    write_files(root)
    limit_memory()


def trial(root: Path, job: int | str) -> Outcome:
    """Train a config by its name, or one with the change of a seed."""
    if not (root / 'teacher.pth').exists():
        get_ready(root)
    start = time.perf_counter()
    bases = configs(root)
    rng = random.Random(job)
    base = rng.choice(list(bases)) if isinstance(job, int) else job
    cfg, made = bases[base], NO_CHANGE
    if isinstance(job, int):
        cfg, made = change(cfg, rng)
    work_dir = root / f'run_{job}'
    os.chdir(root)  # where a wrong path may write
    try:
        result, text = judge(cfg, made, work_dir)
    finally:
        shutil.rmtree(work_dir, ignore_errors=True)
        forget()
    return Outcome(job, base, str(made), result, text,
                   time.perf_counter() - start)


def forget() -> None:
    """Drop what mmengine keeps of every run, and runs through in the next."""
    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers:
            handler.close()
    for kind in (DefaultScope, MessageHub, MMLogger, Visualizer):
        kind._instance_dict.clear()


def judge(cfg: dict, made: Change, work_dir: Path) -> tuple[str, str]:
    try:
        runner = train(cfg, work_dir)
    except (*ERRORS, FileNotFoundError) as error:
        named = any(re.search(rf'(?<![a-z]){re.escape(name)}(?![a-z])',
                              str(error)) for name in made.names)
        # of a file, its name will do
        is_file = isinstance(error, FileNotFoundError) and made.value and (
            str(made.value) in str(error))
        if not (named or is_file):
            return 'wrong', f'{made.names} not named: {where(error)}'
        return type(error).__name__, str(error)
    except Exception as error:
        return 'wrong', where(error)
    try:
        problems = deviations(cfg, runner)
    except Exception as error:  # a value that no run should have taken
        return 'wrong', f'ran, but {where(error)}'
    return ('wrong', '; '.join(problems)) if problems else ('run', '')


def where(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = ' '.join(str(error).split())[:600]
    return (f'{type(error).__name__}: {text} '
            f'({Path(last.filename).name}:{last.lineno})')


def train(cfg: dict, work_dir: Path) -> Runner:
    """Run two epochs."""
    loader = cfg.get('train_dataloader')
    if isinstance(loader, dict):
        loader = dict(
            loader, batch_size=BATCH_SIZE, num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'))
    hooks = cfg.get('custom_hooks')
    if isinstance(hooks, list):
        hooks = [*hooks, dict(type='Batches')]
    runner = Runner.from_cfg(Config(dict(
        default_scope='mmpretrain',
        work_dir=str(work_dir),
        experiment_name=work_dir.name,
        log_level='ERROR',
        model=cfg.get('model'),
        data_preprocessor=dict(
            type='SelfSupDataPreprocessor', mean=[128.] * 3, std=[64.] * 3),
        train_dataloader=loader,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-3)),
        train_cfg=dict(by_epoch=True, max_epochs=EPOCHS),
        default_hooks=dict(checkpoint=None),
        custom_hooks=hooks), format_python_code=False))
    runner.train()
    return runner


# ---- what a config says, worked out apart from the product


def deviations(cfg: dict, runner: Runner) -> list[str]:
    """List where a run is not what its config says."""
    batches = next(h for h in runner.hooks if isinstance(h, Batches))
    wanted = {epoch: samples(cfg, epoch) for epoch in range(EPOCHS)}
    found = {epoch: sorted(set(seen)) for epoch, seen in batches.seen.items()}
    expected: dict[str, Any] = {
        'samples': ({e: [s] for e, s in wanted.items()}, found),
        'steps': (EPOCHS * math.ceil(num_images(cfg) / BATCH_SIZE),
                  len(batches.losses)),
        'finite losses': (True, all(map(math.isfinite, batches.losses))),
        'maps': maps_of(cfg), 'prediction': prediction(cfg, runner, batches),
        **sizes(cfg, runner)}
    expected['maps'] = (expected['maps'], generation(runner))
    return [f'{name} must be {want}, got {got}'
            for name, (want, got) in expected.items() if want != got]


def step(cfg: dict, name: str) -> dict:
    steps = cfg['train_dataloader']['dataset']['pipeline']
    return next(s for s in steps if s['type'].endswith(name))


def pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def num_images(cfg: dict) -> int:
    indices = cfg['train_dataloader']['dataset'].get('indices')
    if indices is None:
        return NUM_IMAGES
    # mmengine: a negative number is that of the last ones
    return min(abs(indices), NUM_IMAGES) if isinstance(
        indices, int) else len(indices)


def update_epochs(cfg: dict) -> list[int]:
    """Return the epochs before which maps are made."""
    hook = next((h for h in cfg['custom_hooks']
                 if h['type'].endswith('SaliencyUpdateHook')), None)
    if hook is None:
        return []
    source = hook.get('source') or dict(type='amt_mm.ModelSaliency')
    is_static = not source['type'].endswith('ModelSaliency')
    interval, begin = hook.get('interval', 40), hook.get('begin')
    if begin is None:
        begin = 0 if is_static else interval
    begin, interval = (max(1, round(n * EPOCHS)) if isinstance(n, float)
                       else n for n in (begin, interval))
    epochs = [e for e in range(EPOCHS)
              if e >= begin and (e - begin) % interval == 0]
    return epochs[:1] if is_static else epochs


def maps_of(cfg: dict) -> int | None:
    epochs = update_epochs(cfg)
    return epochs[-1] if epochs else None


def generation(runner: Runner) -> int | None:
    hook = next((h for h in runner.hooks if hasattr(h, 'store')), None)
    return hook.store.generation if hook else None


def needs_maps(mask: dict) -> bool:
    ordering = mask.get('ordering') or dict(type='amt_mm.AttentionOrdering')
    return 'Att' in ordering['type']


def samples(cfg: dict, epoch: int) -> tuple:
    """Return image shape, token grid and counts of every sample."""
    mask = step(cfg, 'AMTMaskGenerator')
    size, side = pair(mask['input_size']), mask.get('patch_size', 16)
    cell = mask.get('cell_size') or side
    scale = cell // side
    num_cells = (size[0] // cell) * (size[1] // cell)
    epochs = update_epochs(cfg)
    is_warmup = needs_maps(mask) and not (epochs and epochs[0] <= epoch)
    if is_warmup:
        r, t = (mask.get('warmup_mask_ratio', 0.75),
                mask.get('warmup_throw_ratio', 0.))
    else:
        r, t = (ratio_at(mask.get(f'{role}_ratio', default), epoch)
                for role, default in (('mask', 0.45), ('throw', 0.4)))
    r, t = Fraction(repr(r)), Fraction(repr(t))
    if mask.get('rounding', 'floor') == 'floor':
        masked = math.floor(num_cells * r)
        thrown = math.floor(num_cells * (r + t)) - masked
    else:
        masked, thrown = math.ceil(num_cells * r), math.ceil(num_cells * t)
    counts = (masked, thrown, num_cells - masked - thrown)
    scaled = pair(step(cfg, 'RandomResizedCropWithBox')['scale'])
    return ((3, *scaled), (size[0] // side, size[1] // side),
            tuple(n * scale**2 for n in counts))


def ratio_at(ratio: Any, epoch: int) -> float:
    if not isinstance(ratio, dict):
        return ratio
    begin = ratio.get('begin', 0)
    share = min(max((epoch - begin) / (ratio['until'] - begin), 0.), 1.)
    return round((1 - share) * ratio['start'] + share * ratio['end'], 9)


def prediction(cfg: dict, runner: Runner, batches: Batches) -> tuple:
    """Return the shape of a prediction, as it should be and as it is."""
    data = runner.model.data_preprocessor(batches.data)
    plan = MaskPlan.from_data_samples(data['data_samples'])
    model, inputs = runner.model, data['inputs']
    with torch.no_grad():
        if hasattr(model, 'predict'):
            pred, width = model.predict(inputs, plan), features(cfg)
        else:
            pred = model.neck(model.backbone(inputs, plan), plan)
            side = cfg['model']['backbone'].get('patch_size', 16)
            width = 3 * math.prod(pair(side))
            pictures = model.reconstruct(inputs, plan)
            assert pictures.shape == inputs.shape
        assert pred.isfinite().all()
    masked = samples(cfg, EPOCHS - 1)[2][0]
    return (len(inputs), masked, width), tuple(pred.shape)


def features(cfg: dict) -> int:
    hog = cfg['model']['target_generator']
    side = hog.get('patch_size', 16) // hog.get('pool', 8)
    return hog.get('nbins', 9) * 3 * side**2


def sizes(cfg: dict, runner: Runner) -> dict[str, tuple]:
    """Return the sizes of the parts, as they should be and as they are."""
    model, says = runner.model, cfg['model']
    arch, vit = says['backbone']['arch'], model.backbone
    side = says['backbone'].get('patch_size', 16)
    rate = says['backbone'].get('drop_path_rate', 0.)
    found = {
        'arch.num_layers': (arch['num_layers'], len(vit.layers)),
        'arch.embed_dims': (arch['embed_dims'], vit.cls_token.shape[-1]),
        'arch.num_heads': (arch['num_heads'], vit.layers[0].attn.num_heads),
        'patch_size': (pair(side), vit.patch_embed.projection.kernel_size),
        'drop_path_rate': ({rate if len(vit.layers) > 1 else 0.},
                           drop_path_rates(vit.layers[-1])),
        'data set': (num_images(cfg), len(
            unwrap(runner.train_dataloader.dataset)))}
    neck = says['neck']
    if 'Decoder' in neck['type'] and 'MAE' in neck['type']:
        found['decoder_depth'] = (neck.get('decoder_depth', 8), len(
            model.neck.decoder_blocks))
        found['decoder_num_heads'] = [neck.get('decoder_num_heads', 16)] * 2
        for block in model.neck.decoder_blocks:
            found['decoder_num_heads'][1] = block.attn.num_heads
        found['decoder_embed_dim'] = (neck.get(
            'decoder_embed_dim', 512), model.neck.mask_token.shape[-1])
    return found


def drop_path_rates(layer: Any) -> set[float]:
    return {m.drop_prob for m in layer.modules()
            if isinstance(m, DropPath)} or {0.}


def main(count: int, seed: int) -> None:
    """Try some changes in this process and print what is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        outcomes = []
        for number in range(seed, seed + count):
            outcomes.append(trial(root, number))
            if outcomes[-1].result == 'wrong' or outcomes[-1].seconds > 5:
                sys.stdout.write(f'{outcomes[-1]}\n')
                sys.stdout.flush()
    results = [o.result for o in outcomes]
    seconds = sum(o.seconds for o in outcomes)
    sys.stdout.write(f'{count} changes, {seconds:.0f} s: ' + ', '.join(
        f'{results.count(r)} {r}' for r in sorted(set(results))) + '\n')


if __name__ == '__main__':
    main(*map(int, sys.argv[1:]))
