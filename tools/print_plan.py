"""Print what a config will cost, without data and without paying.

    python tools/print_plan.py configs/mae_amt_vit-b_400e_in1k.py
    python tools/print_plan.py CONFIG --num-processes 8 \\
        --cfg-options train_cfg.max_epochs=1600
"""

from __future__ import annotations

import argparse

from mmengine.config import Config
from mmengine.logging import print_log

from amt_mm.engine import estimate_cost
from amt_mm.engine.cfg_options import TextDictAction, merge_options


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a config of pre-training')
    parser.add_argument(
        '--num-processes', type=int, default=1, help='number of GPUs')
    parser.add_argument(
        '--cfg-options', nargs='+', action=TextDictAction, metavar='KEY=VALUE')
    return parser.parse_args()


def main() -> None:
    """Parse, work out, print."""
    args = parse_args()
    cfg = Config.fromfile(args.config)
    merge_options(cfg, args.cfg_options)
    print_log(str(estimate_cost(cfg, args.num_processes)))


if __name__ == '__main__':
    main()
