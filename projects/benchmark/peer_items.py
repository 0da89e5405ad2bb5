"""The libraries that one would take instead, on the same work."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

from PIL import Image

from . import peers
from .comparison import Sides, compare_steps
from .item import Result, Setting, item
from .memory_items import figures, memory_result
from .pipeline_items import (
    images_of,
    make_samples,
    reduced,
    whole,
    with_options,
)
from .step import StepOptions, clock
from .step_items import mae_sides
from .timing import interleave, ratios
from .workload import read_config, workloads

# of a file and its number
Sample = Callable[[str, int], Any]
GROUP = 'Peers'
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
# (width, height) -> how many
SIZES = {(500, 375): 64, (4000, 3000): 8}
LIBRARIES = ("transformers' ViTMAE, lightly's MAE around a ViT of timm, and "
             'those of stable-pretraining that are there')


def all_mae(setting: Setting) -> dict[str, Any]:
    """Return mmpretrain's MAE, the peers', and ours."""
    sides = mae_sides('b', setting)
    cross = read_config('mae_amt-cross_vit-b_400e_in1k', setting.tiny)
    return dict(
        mmpretrain_mae=sides.pop('stock_75'),
        **peers.peers(
            peers.transformers_mae, peers.lightly_mae,
            peers.stable_pretraining_mae,
            peers.stable_pretraining_cross_mae, tiny=setting.tiny),
        **sides, amt_45_40_cross_half=workloads(cross)[1])


def in_pairs(sides: Sides, setting: Setting,
             batch_size: int) -> list[Result]:
    """Compare every side with the first, two models at a time in memory."""
    (base, first), *others = sides.items()
    options = StepOptions(2 if setting.tiny else batch_size)
    return [result for name, load in others
            for result in compare_steps(
                {base: first, f'peer_{name}': load}, setting, options)]


@item('peer_step', GROUP,
      'A training step of ViT-B/16 in float32, 224 pixels: MAE with 75 % '
      f'masked by {LIBRARIES}, and of this project 75/0, 45/40, and 45/40 '
      'with the decoder of cross-attention that predicts half of the masked '
      "patches, over mmpretrain's MAE in turn; SimMIM of stable-pretraining "
      'over ours at 60/0, since mmpretrain has none of a plain ViT, and its '
      "MaskFeat over mmpretrain's at 40/0.", default=False)
def peer_step(setting: Setting) -> list[Result]:
    """Compare the steps of all libraries."""
    simmim, _ = workloads(
        read_config('simmim_amt_vit-b_200e_in1k', setting.tiny))
    maskfeat, _ = workloads(
        read_config('maskfeat_amt_vit-b_300e_in1k', setting.tiny))
    return [
        *in_pairs(all_mae(setting), setting, 8),
        *in_pairs(dict(ours_simmim_60_0=simmim, **peers.peers(
            peers.stable_pretraining_simmim, tiny=setting.tiny)), setting, 4),
        *in_pairs(dict(mmpretrain_maskfeat=maskfeat.stock(), **peers.peers(
            peers.stable_pretraining_maskfeat, tiny=setting.tiny)), setting,
            4)
    ]


@item('peer_memory', GROUP,
      "The peak memory of the same steps of MAE, in batches of 16, over "
      "mmpretrain's; counted as for `peak_memory`.", default=False)
def peer_memory(setting: Setting) -> list[Result]:
    """Compare the peak of all libraries."""
    batch_size = 2 if setting.tiny else 16
    (base, first), *others = all_mae(setting).items()
    peer = {base: figures(first, batch_size)}
    return [
        memory_result(f'peer_peak_{name}', 'peak', figures(load, batch_size),
                      peer, batch_size) for name, load in others
    ]


def torchvision_pipeline() -> Sample:
    """Return the transforms that `run_mae.py` of transformers builds."""
    from torchvision import transforms as T  # noqa: N812
    from torchvision.datasets.folder import default_loader

    steps = T.Compose([
        T.RandomResizedCrop(224, scale=(0.2, 1.0),
                            interpolation=T.InterpolationMode.BICUBIC),
        T.RandomHorizontalFlip(), T.ToTensor(),
        T.Normalize(MEAN, STD)])
    return lambda path, _: steps(default_loader(path))


def lightly_pipeline() -> Sample:
    """Return the transform of MAE that lightly offers."""
    from lightly.transforms.mae_transform import MAETransform
    from torchvision.datasets.folder import default_loader

    steps = MAETransform()
    return lambda path, _: steps(default_loader(path))


def stable_pretraining_pipeline() -> Sample:
    """Return the same steps of stable-pretraining's transforms."""
    from stable_pretraining.data import transforms as T  # noqa: N812
    from torchvision.datasets.folder import default_loader
    from torchvision.transforms import InterpolationMode

    steps = T.Compose(
        T.RGB(), T.RandomResizedCrop(
            224, scale=(0.2, 1.0), interpolation=InterpolationMode.BICUBIC),
        T.RandomHorizontalFlip(),
        T.ToImage(mean=MEAN, std=STD))
    return lambda path, _: steps(dict(image=default_loader(path)))['image']


@item('peer_input', GROUP,
      'Images a second of the whole input pipeline, one process, from JPEGs '
      'of 500 x 375 and of 4000 x 3000 pixels to normalised crops: '
      "torchvision's transforms as transformers' run_mae.py has them, "
      "lightly's MAETransform, stable-pretraining's transforms of the same "
      "steps, and ours as the configs have it and with LoadResizedCrop, over "
      "mmpretrain's pipeline of MAE. mmpretrain's and ours normalise on the "
      'device, in the step.', default=False)
def peer_input(setting: Setting) -> list[Result]:
    """Compare the pipelines of all libraries."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        built = with_options(f'{folder}/maps', ours=whole('pillow'),
                             ours_reduced=reduced('pillow'))
        sides: dict[str, Sample] = {
            name: partial(make_samples, steps, number=1)
            for name, steps in built.items()}
        for make in (torchvision_pipeline, lightly_pipeline,
                     stable_pretraining_pipeline):
            library = make.__name__.removesuffix('_pipeline')
            if find_spec(library):
                sides[library] = make()
        paths = images_of(setting, folder)
        for size, number in list(SIZES.items())[:1 if setting.tiny else 2]:
            files = []
            for i, path in enumerate(paths[:number]):
                files.append(f'{folder}/{size[0]}_{i}.jpg')
                with Image.open(path) as image:
                    image.convert('RGB').resize(size).save(
                        files[-1], quality=90)
            results += rates(sides, files, 'x'.join(map(str, size)), setting)
    return results


def read_all(side: Sample, files: list[str]) -> None:
    """Make one sample of every file."""
    for i, path in enumerate(files):
        side(path, i)


def rates(sides: dict[str, Sample], files: list[str], name: str,
          setting: Setting) -> list[Result]:
    """Return the images a second of every side over the stock's."""
    calls = {key: partial(read_all, side, files)
             for key, side in sides.items()}
    seconds = interleave(calls, setting.rounds, clock=clock())
    stock = seconds.pop('stock')
    return [
        Result.of(f'peer_images_a_second_{key}_{name}', ratios(stock, own),
                  extra=dict(peer='mmpretrain', images=len(files),
                             photographs=bool(setting.images)))
        for key, own in seconds.items()
    ]
