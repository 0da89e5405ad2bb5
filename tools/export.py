"""Write a checkpoint's encoder for another library.

    python tools/export.py CHECKPOINT --to timm
    python tools/export.py CHECKPOINT --to hf --out DIR
    python tools/export.py CHECKPOINT --to mmpretrain --out FILE.pth
    python tools/export.py CHECKPOINT --to safetensors
    python tools/export.py CHECKPOINT --to onnx

CHECKPOINT comes from pre-training by MAE, SimMIM or MaskFeat, or from an
mmpretrain classifier, whose head is left. For `hf` MAE keeps its decoder.
Nothing in CHECKPOINT is executed. Prints what was found and how to load what
was written.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

from amt_mm.weights.export import (
    TARGETS,
    Checkpoint,
    open_checkpoint,
    refuse_to_overwrite,
    to_hf,
)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', help='file or URL')
    parser.add_argument('--to', required=True, choices=sorted(TARGETS))
    parser.add_argument(
        '--out', type=Path, help='defaults to a name beside the checkpoint')
    parser.add_argument(
        '--config', help='config to go by, if the checkpoint holds none')
    parser.add_argument(
        '--num-heads', type=int,
        help='number of heads, if neither the config nor the sizes say')
    parser.add_argument(
        '--grid', type=int, nargs=2, metavar=('HEIGHT', 'WIDTH'),
        help='grid of its tokens, if neither the file nor a config says')
    parser.add_argument(
        '--encoder-only', action='store_true',
        help='with --to hf: leave the decoder out')
    parser.add_argument(
        '--force', action='store_true', help='overwrite what exists')
    return parser.parse_args()


def default_out(source: str, target: str) -> Path:
    """Name the result after the checkpoint; of a URL, here."""
    path = Path(source.rsplit('/', 1)[-1] if '://' in source else source)
    return path.with_name(path.stem + TARGETS[target].ending)


def write(checkpoint: Checkpoint, args: argparse.Namespace, out: Path) -> str:
    """Write the result; return how to load it."""
    if args.to == 'hf':
        return to_hf(checkpoint, out, args.encoder_only)
    return TARGETS[args.to].write(checkpoint, out)


def main() -> None:
    """Parse, read, write; say in one line what does not work."""
    args = parse_args()
    out = args.out or default_out(args.checkpoint, args.to)
    try:
        config = Config.fromfile(args.config).to_dict() \
            if args.config else None
        refuse_to_overwrite(out, args.checkpoint, args.force)
        checkpoint = open_checkpoint(
            args.checkpoint, args.num_heads, config, args.grid)
        usage = write(checkpoint, args, out)
        print_log(checkpoint.report(args.to == 'hf' and not args.encoder_only))
        if args.to != 'mmpretrain':
            print_log(f'{checkpoint.vit}; {checkpoint.normalization}')
    except (ValueError, OSError) as error:
        raise SystemExit(f'cannot export {args.checkpoint}: {error}') from None
    print_log(f'{out} is written; to load it:\n{usage}')


if __name__ == '__main__':
    main()
