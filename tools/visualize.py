"""Show where encoders look, what is masked, and what is made of it.

    python tools/visualize.py CONFIG CHECKPOINT --images DIR
    python tools/visualize.py CONFIG epoch_10.pth epoch_20.pth epoch_30.pth \
        --images DIR --out work_dirs/look --num-images 8

CONFIG is the one the model was pre-trained with. A CHECKPOINT is one of it, of
any encoder of the same architecture, or "none" for random weights; several are
shown side by side. Writes attention.png (the class token's, all heads
averaged), heads_N.png for each checkpoint and, where it holds the whole model,
plans_N.png (plans drawn from its saliency, and the masked patches as it makes
them), all of them on one page, index.html, and prints a summary.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import torch
from mmcv.transforms import Resize
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import MMLogger, print_log
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.datasets.transforms import PackInputs
from torch import Tensor

from amt_mm.datasets.image_folder import EXTENSIONS
from amt_mm.datasets.transforms import LoadImage, UnreadableImageError
from amt_mm.engine.cfg_options import TextDictAction, merge_options
from amt_mm.engine.cost import find_generator
from amt_mm.masking import MaskPlan
from amt_mm.visualization import (
    Section,
    cls_attention_maps,
    draw_attention,
    draw_heads,
    draw_plans,
    effective_num_patches,
    sample_plans,
    to_pixels,
    write_page,
)
from amt_mm.weights import load_model, read_weights


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of pre-training')
    parser.add_argument('checkpoints', nargs='+', metavar='CHECKPOINT')
    parser.add_argument(
        '--images', type=Path, nargs='+', required=True,
        help='files, or folders that are searched')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/look'))
    parser.add_argument('--num-images', type=int, default=6,
                        help='drawn evenly from those found')
    parser.add_argument(
        '--grid', type=int, nargs=2, metavar=('HEIGHT', 'WIDTH'),
        help='grid the encoder was pre-trained on, in patches, if it is not '
        "the config's and the checkpoint does not say")
    parser.add_argument('--num-plans', type=int, default=2)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--device', default=get_device())
    parser.add_argument(
        '--cfg-options', nargs='+', action=TextDictAction, metavar='KEY=VALUE')
    args = parser.parse_args()
    for name in ('num_images', 'num_plans'):
        if getattr(args, name) < 1:
            parser.error(f'--{name.replace("_", "-")} must be >= 1, got '
                         f'{getattr(args, name)}.')
    return args


def main() -> None:
    """Load, look, draw."""
    args = parse_args()
    MMLogger.get_current_instance().setLevel('WARNING')
    cfg = Config.fromfile(args.config)
    merge_options(cfg, args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    images = read_images(args.images, args.num_images)
    args.out.mkdir(parents=True, exist_ok=True)
    means: dict[str, np.ndarray] = {}
    sections: list[Section] = []
    for number, path in enumerate(args.checkpoints, 1):
        name = f'{number} {Path(path).stem}'
        torch.manual_seed(args.seed)
        model, is_whole = build_model(cfg, path, args.grid)
        model.to(args.device)
        inputs = model_inputs(cfg, model, images)
        attention = cls_attention_maps(model.backbone, inputs)
        means[name] = attention.mean(1)
        sections.append(Section(f'heads_{number}', f'Each head of {path}',
                                draw_heads(images, attention)))
        if is_whole and hasattr(model, 'saliency'):
            np.random.seed(args.seed)
            sections.append(Section(
                f'plans_{number}', f'Plans and reconstructions of {path}',
                plans_of(cfg, model, inputs, args.num_plans)))
    first = Section('attention', summary(means),
                    draw_attention(images, means))
    write(args.out, [first, *sections], args)


def read_images(paths: Sequence[Path], number: int) -> list[np.ndarray]:
    """Read images (H, W, 3) RGB; what cannot be read is named, left out."""
    files = [file for path in paths for file in (
        sorted(p for p in path.rglob('*') if p.suffix.lower() in EXTENSIONS)
        if path.is_dir() else [path])]
    load, images = LoadImage(), []
    order = np.linspace(0, len(files) - 1, min(number, len(files)))
    for index in order.astype(int):
        try:
            image = load(dict(img_path=str(files[index])))['img']
        except UnreadableImageError as error:
            print_log(f'left out: {error}')
            continue
        images.append(np.ascontiguousarray(image[..., ::-1]))
    if not images:
        raise SystemExit('--images must name at least one readable image, '
                         f'got {", ".join(map(str, paths))}.')
    return images


def build_model(cfg: Config, path: str,
                grid: tuple[int, int] | None = None) -> tuple[Any, bool]:
    """Build the model, and say whether all of it was loaded."""
    cfg.model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    model = MODELS.build(cfg.model)
    if path == 'none':
        model.init_weights()
        return model, True
    report, is_whole = load_model(model, read_weights(path), grid)
    print_log(report if is_whole else f'{report} It has no decoder: no '
              'reconstructions are drawn.')
    return model, is_whole


def model_inputs(cfg: Config, model: Any,
                 images: Sequence[np.ndarray]) -> Tensor:
    """Resize images whole to the model's input (N, 3, H, W), normalised."""
    h, w = find_generator(cfg).tokens
    side = model.backbone.patch_size
    resize = Resize((w * side, h * side), backend='pillow',
                    interpolation='bicubic')
    inputs = torch.stack([
        PackInputs.format_input(resize(dict(img=image[..., ::-1]))['img'])
        for image in images])
    return model.data_preprocessor(
        dict(inputs=inputs, data_samples=None))['inputs']


@torch.no_grad()
def plans_of(cfg: Config, model: Any, inputs: Tensor,
             number: int) -> np.ndarray:
    """Draw plans by the config's generator, and reconstruct by them."""
    model.eval()
    maps = model.saliency(inputs).float().cpu().numpy()
    plans = sample_plans(find_generator(cfg), maps, number,
                         cfg.train_cfg.max_epochs - 1)
    pictures = [
        to_pixels(model, model.reconstruct(
            inputs, MaskPlan.from_flags(own, inputs.device)))
        for own in plans if hasattr(model, 'reconstruct')]
    return draw_plans(to_pixels(model, inputs), maps, plans, pictures)


def summary(means: dict[str, np.ndarray]) -> str:
    """Say in a line a checkpoint how far its attention is spread."""
    lines = []
    for name, maps in means.items():
        seen = effective_num_patches(maps)
        lines.append(f'{name}: looks at {seen.mean():.1f} of '
                     f'{maps[0].size} patches on average (effective number, '
                     f'{seen.min():.1f} to {seen.max():.1f} by image)')
    return '\n'.join(lines)


def write(out: Path, sections: Sequence[Section],
          args: argparse.Namespace) -> None:
    """Write the pictures and the page, and say where they are."""
    for section in sections:
        mmcv.imwrite(mmcv.rgb2bgr(section.picture),
                     str(out / f'{section.heading}.png'))
    page = out / 'index.html'
    names = ', '.join(Path(path).name for path in args.checkpoints)
    write_page(page, f'Attention of {names}', sections)
    print_log(f'{sections[0].text}\npage: {page.resolve()}')


if __name__ == '__main__':
    main()
