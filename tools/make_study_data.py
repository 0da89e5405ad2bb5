"""Write the data of a study to where its plans look for it.

    python tools/make_study_data.py tiny_imagenet40
    python tools/make_study_data.py cifar10 --source DIR --out DIR

Tiny ImageNet and CIFAR-10 are downloaded to the source unless they are there.
Tiny ImageNet has the terms of ImageNet: research that is not commercial.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmengine.logging import print_log

# projects/ lies beside tools/
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from projects.study.data import WRITERS  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name', choices=list(WRITERS))
    parser.add_argument(
        '--source', type=Path, default=Path('data'),
        help='folder of the official files; default: data')
    parser.add_argument('--out', type=Path, help='default: data/NAME')
    return parser.parse_args()


def main() -> None:
    """Write the images, or say why not."""
    args = parse_args()
    out = args.out or Path('data', args.name)
    try:
        WRITERS[args.name](args.source, out)
    except (OSError, ValueError) as error:
        raise SystemExit(f'error: {error}') from None
    print_log(f'{args.name} is in {out}')


if __name__ == '__main__':
    main()
