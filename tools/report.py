"""Write a page about one training run, or about several side by side.

    python tools/report.py WORK_DIR
    python tools/report.py work_dirs/mae work_dirs/mae_amt --out both.html

The page is one HTML file that opens from disk in any browser, without a
network. A run that was resumed is one run; one that still goes on is shown as
far as it came.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import print_log


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'work_dirs', nargs='+', type=Path, metavar='WORK_DIR',
        help='work dir of a run, as tools/train.py makes it')
    parser.add_argument(
        '--out', type=Path, help='default: report.html in the first WORK_DIR')
    return parser.parse_args()


def write(work_dirs: Sequence[Path], out: Path | None = None) -> None:
    """Write the page; raise SystemExit, with the reason, if it cannot be."""
    # projects/ lies beside tools/
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    try:
        from projects.report import NoRunError, write_report
    except ModuleNotFoundError as error:
        package = str(error.name).split('.')[0]
        if package not in ('jinja2', 'plotly'):
            raise
        raise SystemExit(
            f'{package} is missing: a report needs the extra `report`, '
            "pip install 'amt_mm[report]'.") from error
    out = out or work_dirs[0] / 'report.html'
    try:
        write_report(work_dirs, out)
    except (NoRunError, OSError) as error:
        raise SystemExit(str(error)) from error
    print_log(f'report: {out.resolve()}, {out.stat().st_size / 1e6:.1f} MB')


def main() -> None:
    """Parse, read, write."""
    args = parse_args()
    write(args.work_dirs, args.out)


if __name__ == '__main__':
    main()
