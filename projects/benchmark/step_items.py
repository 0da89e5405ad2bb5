"""Training steps: ours over the peer's."""

from __future__ import annotations

from mmengine.config import Config

from .comparison import Sides, compare, compare_steps
from .item import Item, Result, Setting, item
from .step import StepOptions, TrainStep, clock
from .timing import interleave
from .workload import Workload, read_config, workloads

STEPS = 'Training steps'
HOW = ('A step is forward, backward and AdamW on random images of 224 pixels; '
       'each round takes one step of every side in turn. On a CPU, seconds '
       'are those that the process had the CPU for.')
MAE_AIMS = dict(ours_75_0=.97, amt_45_40=.61)


def mae_sides(size: str, setting: Setting) -> dict[str, Workload]:
    """Return stock MAE, ours at 75/0 and ours at 45/40."""
    config = read_config(f'mae_amt_vit-{size}_400e_in1k', setting.tiny)
    warmup, amt = workloads(config)
    return dict(stock_75=warmup.stock(), ours_75_0=warmup, amt_45_40=amt)


def run(prefix: str, sides: Sides, setting: Setting, options: StepOptions,
        aims: dict[str, float] | None = None) -> list[Result]:
    """Compare steps, under names that begin with a prefix."""
    names = list(sides)
    if setting.tiny:
        options = StepOptions(2, options.bf16, options.compiled,
                              options.fused)
    named = {names[0]: sides[names[0]]}
    named.update({f'{prefix}_{name}': sides[name] for name in names[1:]})
    return compare_steps(
        named, setting, options,
        {f'{prefix}_{name}': aim for name, aim in (aims or {}).items()})


@item('mae_step', STEPS,
      f"MAE of ViT-B/16 over mmpretrain's MAE in float32, in batches of 16 "
      f'and of 32. {HOW} AdamW takes the same whatever the batch, and weighs '
      "more in a smaller one. In batches of 32 a third of mmpretrain's time "
      'goes to pages that the system hands out anew in each step; where '
      'malloc keeps them (MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ '
      'of many gigabytes) the ratio is that of the arithmetic.')
def mae_step(setting: Setting) -> list[Result]:
    """Compare ViT-B in float32."""
    sides = mae_sides('b', setting)
    return [
        result for prefix, size in (('mae_b', 16), ('mae_b_batch_32', 32))
        for result in run(prefix, sides, setting, StepOptions(size), MAE_AIMS)
    ]


@item('am_step', STEPS,
      'The same with attention-driven masking only, which throws nothing: '
      'the step is that of 75/0, whatever the plans are drawn from.',
      default=False)
def am_step(setting: Setting) -> list[Result]:
    """Compare attention-driven masking alone."""
    config = read_config('mae_am_vit-b_400e_in1k', setting.tiny)
    warmup, main = workloads(config)
    return run('mae_b', dict(stock_75=warmup.stock(), am_75_0=main), setting,
               StepOptions(16), dict(am_75_0=.97))


@item('cross_step', STEPS,
      'MAE + AMT 45/40 of ViT-B/16, half of the masked patches predicted by '
      "the decoder of cross-attention, over mmpretrain's MAE in float32: with "
      '8 layers, with weighted sums of the blocks of the encoder, and with '
      f'the 12 layers of its paper. {HOW}', default=False)
def cross_step(setting: Setting) -> list[Result]:
    """Compare the decoder of cross-attention."""
    sides = mae_sides('b', setting)
    sides.pop('ours_75_0')
    for side, options in dict(
            cross_half={}, cross_half_inter_block=dict(inter_block=True),
            cross_half_12_layers=dict(decoder_depth=12)).items():
        config = read_config('mae_amt-cross_vit-b_400e_in1k', setting.tiny)
        config.model.neck.update(options)
        _, sides[side] = workloads(config)
    return run('mae_b', sides, setting, StepOptions(16), dict(cross_half=.42))


@item('mae_step_bf16', STEPS,
      "MAE of ViT-B/16 over mmpretrain's MAE under autocast to bfloat16. The "
      'aim of 0.97 for 75/0 is below what the arithmetic asks for (0.978): '
      f'in float32 memory makes the difference. {HOW}')
def mae_step_bf16(setting: Setting) -> list[Result]:
    """Compare ViT-B in bfloat16."""
    return run('mae_b_bf16', mae_sides('b', setting), setting,
               StepOptions(16, bf16=True), MAE_AIMS)


@item('mae_step_small', STEPS,
      f"MAE of ViT-S/16 over mmpretrain's MAE in float32. {HOW}",
      default=False)
def mae_step_small(setting: Setting) -> list[Result]:
    """Compare ViT-S, whose decoder weighs more."""
    return run('mae_s', mae_sides('s', setting), setting, StepOptions(16))


@item('mae_step_large', STEPS,
      f"MAE of ViT-L/16 over mmpretrain's MAE in bfloat16; for a GPU. {HOW}",
      default=False)
def mae_step_large(setting: Setting) -> list[Result]:
    """Compare ViT-L."""
    return run('mae_l_bf16', mae_sides('l', setting), setting,
               StepOptions(64, bf16=True))


@item('mae_step_compiled', STEPS,
      "MAE of ViT-B/16 over mmpretrain's MAE, the loss of both compiled by "
      'torch.compile into one graph; for which the numpy numbers in '
      f"mmpretrain's blocks are first made Python's. {HOW}")
def mae_step_compiled(setting: Setting) -> list[Result]:
    """Compare ViT-B, compiled."""
    sides = mae_sides('b', setting)
    sides.pop('ours_75_0')
    return run('mae_b_compiled', sides, setting,
               StepOptions(16, compiled=True), dict(amt_45_40=.62))


@item('simmim_step', STEPS,
      'SimMIM of ViT-B/16 with throwing over ours at 60/0, as mmpretrain has '
      f'no SimMIM of a ViT. {HOW}')
def simmim_step(setting: Setting) -> list[Result]:
    """Compare SimMIM's two settings of the paper with none thrown."""
    name = 'simmim_{}_vit-b_200e_in1k'
    warmup, amt = workloads(read_config(name.format('amt'), setting.tiny))
    _, more = workloads(read_config(name.format('amt-33-50'), setting.tiny))
    return run('simmim_b',
               dict(ours_60_0=warmup, amt_44_26=amt, amt_33_50=more), setting,
               StepOptions(8), dict(amt_44_26=.75, amt_33_50=.53))


@item('maskfeat_step', STEPS,
      f"MaskFeat of ViT-B/16 over mmpretrain's MaskFeat at 40/0. {HOW}")
def maskfeat_step(setting: Setting) -> list[Result]:
    """Compare MaskFeat."""
    config = read_config('maskfeat_amt_vit-b_300e_in1k', setting.tiny)
    warmup, amt = workloads(config)
    return run('maskfeat_b',
               dict(stock_40=warmup.stock(), ours_40_0=warmup, amt_28_30=amt),
               setting, StepOptions(4))


@item('fused_adamw', STEPS,
      'MAE + AMT 45/40 of ViT-B/16 with fused AdamW over the same with '
      f"torch's default, which the configs have. {HOW}", default=False)
def fused_adamw(setting: Setting) -> list[Result]:
    """Compare the fused optimiser with the default one."""
    amt = mae_sides('b', setting)['amt_45_40']
    batch_size = 2 if setting.tiny else 16
    steps = dict(
        default_adamw=TrainStep(amt, StepOptions(batch_size)),
        amt_fused_adamw=TrainStep(amt, StepOptions(batch_size, fused=True)))
    macs = amt.macs()
    return compare(interleave(steps, setting.rounds, clock=clock()), {},
                   dict.fromkeys(steps, macs), batch_size=batch_size)


@item('cpu_precision', STEPS,
      'A step in bfloat16, as CPUs with AMX train, over the same in float32, '
      'as all others do, both with fused AdamW: MAE + AMT of ViT-B/16 in '
      "batches of 16, MAE of the study's ViT-Ti/8 of 64 pixels in batches of "
      "128, and the demo's AMT of 64 pixels in batches of 32. A step is "
      'forward, backward and AdamW on random images; each round takes one '
      'step of every side in turn. On a CPU, seconds are those that the '
      'process had the CPU for.', default=False)
def cpu_precision(setting: Setting) -> list[Result]:
    """Compare the precisions that a CPU trains in."""
    results = []
    for name, config, size, aim in (
            ('vit_b', 'mae_amt_vit-b_400e_in1k', 16, .5),
            ('study', 'study/mae_vit-t_64', 128, .75),
            ('demo', 'mae_pixel-amt_vit-mini_demo', 32, .75)):
        warmup, amt = workloads(read_config(config, setting.tiny))
        load = warmup if name == 'study' else amt
        size = 2 if setting.tiny else size
        steps = {f'{name}_{kind}': TrainStep(load, StepOptions(
            size, bf16=kind == 'bf16', fused=True))
            for kind in ('fp32', 'bf16')}
        results += compare(
            interleave(steps, setting.rounds, clock=clock()),
            {f'{name}_bf16': aim}, dict.fromkeys(steps, load.macs()),
            batch_size=size)
    return results


def config_item(cfg: Config, batch_size: int, bf16: bool) -> Item:
    """Return the measurement of what any config trains."""
    warmup, main = workloads(cfg)
    sides = dict(ours_warmup=warmup, ours=main)
    if warmup.has_stock:
        sides = dict(stock=warmup.stock(), **sides)

    def measure(setting: Setting) -> list[Result]:
        return compare_steps(sides, setting, StepOptions(batch_size, bf16))

    return Item('config', measure, STEPS, HOW)
