"""Time what the project does against its peers, side by side.

    python tools/benchmark.py --list
    python tools/benchmark.py --items mae_step saliency --json FILE
    python tools/benchmark.py configs/mae_amt_vit-b_400e_in1k.py
    python tools/benchmark.py CONFIG --batch-size 64 --rounds 20 --bf16

Every round measures all sides in turn, so that all see the same machine; a
figure is the median of the rounds' ratios. Prints one JSON line per figure;
--json puts them into a file, in place of those that an item had there, and
--page renders that file. ``--items default`` is all that a CPU does in a
quarter of an hour.

With a config: the step (forward, backward, AdamW) of its method at the
warm-up ratios and at its own, over that of mmpretrain's MAE or, as it has no
SimMIM of a ViT, over our method at the warm-up ratios.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from mmengine.config import Config

# projects/ lies beside tools/
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from projects.benchmark import ITEMS, Setting  # noqa: E402
from projects.benchmark.lines import line_of, merge, read_lines  # noqa: E402
from projects.benchmark.page import render  # noqa: E402
from projects.benchmark.step_items import config_item  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'config', nargs='?', help='a config of pre-training with AMT')
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument('--bf16', action='store_true')
    parser.add_argument('--items', nargs='+', default=[], metavar='ITEM')
    parser.add_argument('--rounds', type=int, default=11)
    parser.add_argument('--images', type=Path, help='a folder of images')
    parser.add_argument('--json', type=Path, help='file to put results into')
    parser.add_argument('--page', type=Path, help='file to render --json to')
    parser.add_argument('--list', action='store_true', help='name the items')
    args = parser.parse_args()
    if args.rounds < 2:
        parser.error(f'--rounds must be >= 2, got {args.rounds}.')
    if args.page and not args.json:
        parser.error('--page renders what --json names.')
    if args.items == ['default']:
        args.items = [n for n, item in ITEMS.items() if item.default]
    if unknown := set(args.items) - set(ITEMS):
        parser.error(f'--items must be of {sorted(ITEMS)}, got '
                     f'{sorted(unknown)}.')
    if not (args.config or args.items or args.list or args.page):
        parser.error('name a config, --items, --page or --list.')
    return args


def main() -> None:
    """Measure what is named, one item after the other."""
    args = parse_args()
    if args.list:
        for name, item in ITEMS.items():
            sys.stdout.write(f'{name:18s} {item.about}\n')
    measured = [ITEMS[name] for name in args.items]
    if args.config:
        measured.append(config_item(
            Config.fromfile(args.config), args.batch_size, args.bf16))
    setting = Setting(rounds=args.rounds, images=args.images)
    for item in measured:
        lines = [line_of(item, result) for result in item.run(setting)]
        for line in lines:
            sys.stdout.write(json.dumps(line) + '\n')
        sys.stdout.flush()
        if args.json and item.name in ITEMS:
            merge(args.json, lines)
    if args.page:
        args.page.write_text(render(read_lines(args.json), ITEMS))


if __name__ == '__main__':
    main()
