"""Pre-train and measure many settings, as a plan says; go on after a stop.

    python tools/study.py configs/study/tiny-imagenet40_cpu.yaml
    python tools/study.py PLAN.yaml --data-root DIR --work-dir DIR
    python tools/study.py PLAN.yaml --only mae_random amt
    python tools/study.py PLAN.yaml --table

Writes one JSON line for each result into results.jsonl, and after each run
table.md and accuracy.png. What has a result with the same settings is not done
again; a run that was killed goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmengine.logging import print_log
from mmengine.registry import init_default_scope

# projects/ lies beside tools/
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from projects.study import STAGES, Results, draw, read_study, render, run_study  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('plan', type=Path, help='YAML file')
    parser.add_argument('--data-root', help="in place of the plan's data.root")
    parser.add_argument(
        '--work-dir', type=Path, help='default: work_dirs/study/NAME')
    parser.add_argument(
        '--results', type=Path, help='default: results.jsonl in the work dir')
    parser.add_argument(
        '--only', nargs='+', default=(), metavar='ROW',
        help='do these rows alone')
    parser.add_argument(
        '--stages', nargs='+', default=(), choices=STAGES, metavar='STAGE',
        help=f'do these stages alone, of {", ".join(STAGES)}')
    parser.add_argument(
        '--no-table', action='store_true',
        help='write results alone: of many runs, a table takes seconds')
    parser.add_argument(
        '--table', action='store_true', help='print the table, run nothing')
    return parser.parse_args()


def main() -> None:
    """Parse, run, sum up."""
    args = parse_args()
    work_dir = args.work_dir or Path('work_dirs', 'study', args.plan.stem)
    try:
        study = read_study(args.plan, work_dir, args.data_root)
        if not args.table:
            study.check_data()
    except (OSError, TypeError, ValueError) as error:
        raise SystemExit(f'error: {error}') from None
    init_default_scope('mmpretrain')
    if unknown := set(args.only) - set(study.rows):
        raise SystemExit(f'--only must be of {list(study.rows)}, got '
                         f'{sorted(unknown)}.')
    results = Results(args.results or work_dir / 'results.jsonl')

    def sum_up() -> None:
        work_dir.mkdir(parents=True, exist_ok=True)
        (work_dir / 'table.md').write_text(render(study, results))
        draw(study, results, work_dir / 'accuracy.png')

    if not args.table:
        after = (lambda: None) if args.no_table else sum_up
        run_study(study, results, after, args.only, args.stages)
    if not args.no_table:
        sum_up()
        print_log(render(study, results))


if __name__ == '__main__':
    main()
