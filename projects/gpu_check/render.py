"""Render docs/gpu.md from docs/gpu/h200.jsonl, or take new results in.

    python projects/gpu_check/render.py
    python projects/gpu_check/render.py --results OUT/results.jsonl

With --results, the lines are first copied to docs/gpu, without the paths of
the machine that they come from.
"""

from __future__ import annotations

import argparse
import json
import re
import textwrap
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from record import device_ratios

DOCS = Path(__file__).resolve().parents[2] / 'docs'
LINES, PAGE = DOCS / 'gpu' / 'h200.jsonl', DOCS / 'gpu.md'
# folders: before a package of Python or of this project, and of the command
FOLDER = re.compile(
    r'(?<!\\)[^\s"\'\\]*(?:site-packages/|/(?=(?:amt_mm|projects|mmcv|mmengine|'
    r'mmpretrain)/))')
OPTION = re.compile(r'(--(?:out|scratch|photos|study)) [^\s"]+')
OTHERS = re.compile(r'/tmp/[^\s"\'\\]+')

Line = Mapping[str, Any]

HEAD = """# On a GPU

<!-- Rendered by gpu_check/render.py from gpu/h200.jsonl: do not edit. -->

`projects/gpu_check` checks on a GPU what the tests check on a CPU, and times
the steps there. This page is one run of it, whose lines are all in
[gpu/h200.jsonl](gpu/h200.jsonl), the errors of those that failed included.
What the run showed to be wrong was mended since, and has not been run again.
"""

NUMERICS = """## Against the CPU, and runs

Loss and gradients (as one vector) of one batch, relative to those of the CPU
in float32. The bounds are 1e-4 in float32, without TF32, and 2e-2 in bfloat16.
"""

SPEED = """## Steps

A step is forward, backward and fused AdamW in bfloat16 on images that are on
the device. The sides take turns; a figure is the median over the rounds, with
its quartiles, over mmpretrain's step (SimMIM: ours without throwing; compiled:
mmpretrain's, compiled as well). The arithmetic is the ratio of
multiply-accumulates. The device ratio is that of the time of all kernels,
where the profile below has it. The host's share is the time to enqueue a step
over that of the step: near 1, the device waits for the host. A peak is in
megabytes, and over the peer's.
"""

PROFILE = """## Where the time goes

One step of MAE with ViT-B, batch {size}, in torch's profiler. Device
milliseconds are the sum of all kernels. The host's time for a kernel is that
to enqueue a step of batch 64, where the host holds up every side, divided by
the number of kernels.
"""

WHY = """The kernels of AMT's step take {device} of the time of mmpretrain's,
and the arithmetic is {arithmetic}: the device saves what it should. But
throwing hardly changes the number of kernels, and where the host takes longer
to launch them than the device to run them, the device waits. So the step of
batch {size} takes {wall} of the time of mmpretrain's, at a host's share of
{share}; that of batch 512 takes {large}, at a share of {large_share}. In
batches of 64 and 128 a step takes what the host takes, whatever is thrown.
Larger batches and a faster host should help; the check has CUDA graphs by now,
which launch all kernels at once and have not been run.
"""

WAITS = """In a step, by side: {steps}. In an iteration of a real
run: {count:g}, none of them in this project. One is mmengine's copy of the
batch; since then the plan travels pinned with the batch, and the copy does not
wait. One is mmpretrain's swap of the channels, which copies a list of indices,
and one the log of the loss: {places}.
"""

# what is known of a failure; the figures are put in from the lines
NOTES = {
    'fsdp': 'apart by {fsdp[apart]}, where the bound is 0.001. The comparison '
            'was not valid: the losses differ from the first on '
            '({fsdp[first_loss]:.4f} and {ddp[first_loss]:.4f}), as mmengine '
            'draws the initial weights on the GPU in its `Runner` and on the '
            'CPU in its `FlexibleRunner`, which FSDP needs. The check now '
            'compares with a `FlexibleRunner` without FSDP.',
    'compiled_run': "torch's compiler fails in mmengine's `train_step`, which "
                    '`compile` compiles, at a check of versions in its '
                    'autocast. The compiled loss, above, runs.',
    'step_syncs': "judged mmpretrain's step too, which has the only wait. "
                  'The check now judges ours.',
    'maskfeat_b_256': 'the benchmark built the models on the device, which '
                      "leaves the kernels of mmpretrain's HOG on the CPU. It "
                      'now moves them. So MaskFeat was not timed.',
    'update': 'out of time: each worker of the loader was spawned, not '
              'forked, and imported everything first. They are now forked. So '
              'a whole update was not timed.',
    'workers_1': 'out of time, for the same reason. So the input was not '
                 'timed.',
}


def main() -> None:
    """Read the command line, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--results', type=Path, help='lines to publish')
    args = parser.parse_args()
    if args.results:
        LINES.parent.mkdir(exist_ok=True)
        LINES.write_text(without_paths(args.results.read_text()))
    PAGE.write_text(render(read(LINES)))


def without_paths(text: str) -> str:
    """Take out the folders of a machine."""
    return OTHERS.sub('FILE', OPTION.sub(r'\1 DIR', FOLDER.sub('', text)))


def read(path: Path) -> list[dict[str, Any]]:
    """Read the lines."""
    return [json.loads(text) for text in path.read_text().splitlines()]


def render(lines: Iterable[Line]) -> str:
    """Return the page in Markdown."""
    found = {(line['phase'], line['check']): line for line in lines}
    return '\n'.join([
        HEAD, *about(found), NUMERICS, *numerics(found), *runs(found), SPEED,
        *speed(found), *profile(found), *saliency(found), *waits(found),
        *failed(found)]) + '\n'


Found = Mapping[tuple[str, str], Line]


def about(found: Found) -> list[str]:
    """Say what was run, where and when."""
    line = next(iter(found.values()))
    machine, versions = line['machine'], line['versions']
    days = sorted({time.strftime('%Y-%m-%d', time.gmtime(one['time']))
                   for one in found.values()})
    ceilings = found['speed', 'ceilings']
    return [
        f'- **Machine**: one {machine["gpu"]}, {machine["cores"]} cores of '
        f'{machine["cpu"]}. A large product of matrices in bfloat16 reaches '
        f'{ceilings["bf16_tflops"]:g} TFLOPS, a copy '
        f'{ceilings["copy_tb_a_second"]:g} TB/s.',
        '- **Versions**: ' + ', '.join(
            f'{name} {value}' for name, value in versions.items()) + '.',
        f'- **Command**, {" to ".join(days)}: `{line["command"]}`.',
        f'- **Checks**: {len(found)}, of which {len(wrong(found))} failed '
        f'and {len(missed(found))} missed an aim.', '']


def table(head: str, rows: Iterable[Iterable[Any]]) -> list[str]:
    """Return a table, with the line after it."""
    rule = '|'.join('---' for _ in head.split(' | '))
    return [f'| {head} |', f'|{rule}|', *(
        f'| {" | ".join(map(str, row))} |' for row in rows), '']


def wrap(text: str, **figures: Any) -> str:
    """Put figures into a paragraph, with a line after it."""
    return textwrap.fill(text.format(**figures), 80) + '\n'


def met(value: bool) -> str:
    """Return a word for the eye."""
    return 'yes' if value else '**no**'


def numerics(found: Found) -> list[str]:
    """Compare with the CPU."""
    keys = ('fp32_loss', 'fp32_gradients', 'bf16_loss', 'bf16_gradients')
    return table(
        'model, batch | loss, float32 | gradients, float32 | loss, bfloat16 | '
        'gradients, bfloat16 | met',
        ([f'{check}, {line["batch_size"]}', *(f'{line[key]:g}'
                                              for key in keys),
          met(line['ok'])] for (phase, check), line in found.items()
         if phase == 'numerics'))


def runs(found: Found) -> list[str]:
    """Say what the real runs came to."""
    said = {
        'stop_and_resume': 'stopped in AMT and resumed, against a run without '
        'a stop: losses apart by {resumed_apart:g} (at most 0.001)',
        'saliency_bf16': 'maps in bfloat16 against float32: correlation '
        '{correlation_mean:.4f} (above 0.99), at worst {correlation_min:.4f}; '
        '{shared_of_top_45_percent:.3f} of the masked tokens shared',
        'fp16': 'float16 with the loss scaler: all finite, scale {scale:g}',
        'fused': 'fused AdamW against unfused: apart by {auto_apart:g}, in '
        'float16 {fp16_apart:g} (at most 0.01)',
        'ddp': 'DDP with {backend}, one process, stopped and resumed, against '
        'neither: apart by {apart:g} (at most 0.001)',
        'fsdp': 'FSDP with {backend}, the same: apart by {apart:g}',
        'compiled_run': "mmengine's `compile`, against a run without: fails",
    }
    lines = {check: line for (phase, check), line in found.items()
             if phase in ('run', 'distributed', 'compiled_run')}
    return table("run of the demo's ViT-Ti, bfloat16 | met", (
        [text.format(**lines[check]), met(lines[check].get('ok', False))]
        for check, text in said.items()))


def speed(found: Found) -> list[str]:
    """Compare the steps."""
    ratios = device_ratios(found['speed', 'profile'])
    profiled = found['speed', 'profile']['batch_size']
    rows = []
    for (phase, check), line in sorted(found.items(), key=order):
        if phase not in ('speed', 'compiled') or 'sides' not in line or \
                check.startswith('plan'):
            continue
        peer = line['sides'][line['peer']]
        for name, side in line['sides'].items():
            if name == line['peer']:
                continue
            low, middle, high = side['ratio']
            is_profiled = phase == 'speed' and check == f'mae_b_{profiled}'
            rows.append([
                step_name(phase, check), name,
                f'{side["milliseconds"][1]:.1f} over '
                f'{peer["milliseconds"][1]:.1f}',
                f'{middle:.3f}', f'{low:.3f} to {high:.3f}',
                f'{side["arithmetic_ratio"]:.3f}',
                f'{ratios[name]:.3f}' if is_profiled else '',
                '' if side['aim'] is None else
                f'{side["aim"]:g}, {met(middle <= side["aim"])}',
                f'{side["images_a_second"]:.0f}',
                f'{side["host_over_step"]:.2f} ({peer["host_over_step"]:.2f})',
                f'{side["peak_mb"]:.0f}, {side["peak_ratio"]:.3f}'])
    return table(
        'step, batch | side | milliseconds | ratio | quartiles | arithmetic | '
        "device | aim, met | images/s | host's share (peer's) | peak", rows)


def order(item: tuple[tuple[str, str], Line]) -> tuple[Any, ...]:
    """Sort by phase and model, then by batch."""
    (phase, check), line = item
    return (phase != 'speed', 'mae' not in check, check.rsplit('_', 1)[0],
            line.get('batch_size', 0))


def step_name(phase: str, check: str) -> str:
    """Return ``MAE-B, 256`` for ``mae_b_256``."""
    method, vit, size, *_ = check.split('_')
    kind = ', compiled' if phase == 'compiled' else ''
    names = dict(mae='MAE', simmim='SimMIM', maskfeat='MaskFeat')
    return f'{names[method]}-{vit.upper()}{kind}, {size}'


def profile(found: Found) -> list[str]:
    """Say where the time of a step goes, and why AMT's saves less."""
    line, small = found['speed', 'profile'], found['speed', 'mae_b_64']
    same, large = (found['speed', f'mae_b_{size}']['sides']['amt_45_40']
                   for size in (line['batch_size'], 512))
    ratios = device_ratios(line)
    rows = []
    for name, ratio in ratios.items():
        device, number = (line[name][key] for key in (
            'device_milliseconds', 'num_kernels'))
        host = 1e3 * small['sides'][name]['host_milliseconds'] / number
        rows.append([name, f'{device:.1f}', f'{ratio:.3f}', number,
                     f'{host:.0f}'])
    return [
        PROFILE.format(size=line['batch_size']),
        *table("side | device milliseconds | device ratio | kernels | host's "
               'microseconds a kernel', rows),
        wrap(WHY,
            device=f'{ratios["amt_45_40"]:.3f}', size=line['batch_size'],
            arithmetic=f'{same["arithmetic_ratio"]:.3f}',
            wall=f'{same["ratio"][1]:.3f}',
            share=f'{same["host_over_step"]:.2f}',
            large=f'{large["ratio"][1]:.3f}',
            large_share=f'{large["host_over_step"]:.2f}')]


def saliency(found: Found) -> list[str]:
    """Compare the forward that makes the maps."""
    return [
        '## Saliency\n',
        "The forward of ViT-B that makes the maps, over that of mmpretrain's "
        'ViT.\n', *table(
            'precision, batch | ratio | quartiles | arithmetic | aim, met | '
            'images/s',
            ([f'{check[len("saliency_"):]}, {line["batch_size"]}',
              f'{line["ratio"]:.3f}', f'{line["low"]:.3f} to '
              f'{line["high"]:.3f}', f'{line["arithmetic_ratio"]:.3f}',
              f'{line["aim"]:g}, {met(line["ratio"] <= line["aim"])}',
              f'{line["images_a_second"]:.0f}']
             for (phase, check), line in found.items()
             if phase == 'update' and check.startswith('saliency')))]


def waits(found: Found) -> list[str]:
    """Say what the host waits for."""
    steps, run = found['speed', 'step_syncs'], found['speed', 'run_syncs']
    counts = ', '.join(f'{name} {sum(places.values())}'
                       for name, places in steps.items()
                       if isinstance(places, dict) and '_' in name)
    places = ', '.join(f'`{place.split(" ")[0]}`'
                        for place in run['places'])
    return ['## What waits for the device\n', wrap(
        WAITS, steps=counts, count=run['an_iteration'], places=places)]


def wrong(found: Found) -> dict[str, Line]:
    """Return the checks that failed."""
    return {check: line for (_, check), line in found.items()
            if 'error' in line or line.get('ok') is False}


def missed(found: Found) -> list[tuple[str, str, Line]]:
    """Return the step and the side of each aim that was missed."""
    return [(step_name(phase, check), name, line['sides'][name])
            for (phase, check), line in sorted(found.items(), key=order)
            for name in line.get('misses', ())]


def failed(found: Found) -> list[str]:
    """List what failed, and what missed its aim."""
    by_check = {check: line for (_, check), line in found.items()}
    rows = [f'- `{check}`: ' + NOTES.get(check, 'see its line.').format(
        **by_check) for check in wrong(found)]
    held, free = [], []
    for step, name, side in missed(found):
        (held if side['host_over_step'] > .9 else free).append(
            f'{name} of {step} ({side["ratio"][1]:.3f})')
    return [
        '## What failed, and what missed its aim\n', *rows,
        f'- Above their aim as the host holds them up, its share above 0.9: '
        f'{"; ".join(held)}.',
        f'- Above their aim where it does not: {"; ".join(free)}. Of these '
        'there is no profile.']


if __name__ == '__main__':
    main()
