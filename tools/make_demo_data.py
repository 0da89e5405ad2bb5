"""Write the demo data set to a folder.

    python tools/make_demo_data.py data/demo --num-train 600
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# projects/ lies beside tools/
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from projects.demo.demo_data import write_demo_data  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('root', help='folder to write to')
    parser.add_argument('--num-train', type=int, default=600)
    parser.add_argument('--num-val', type=int, default=200)
    parser.add_argument(
        '--image-size', type=int, default=128, help='side in pixels')
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Write the data set, or reuse it where it is complete."""
    args = parse_args()
    try:
        write_demo_data(**vars(args))
    except ValueError as error:
        raise SystemExit(f'error: {error}') from None


if __name__ == '__main__':
    main()
