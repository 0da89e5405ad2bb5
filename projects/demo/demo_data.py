"""Write the demo data set: textured objects with all kinds of labels."""
from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.logging import print_log

from amt_mm.progress import progress

from .demo_scene import DemoObject, Scene, draw_scene
from .demo_shapes import CLASSES

MANIFEST = 'demo_data.json'
VERSION = 3
FOLDERS = ('train', 'val', 'semantic', 'annotations')
JPEG_QUALITY = 92


def write_demo_data(root: str | os.PathLike[str],
                    num_train: int = 600,
                    num_val: int = 200,
                    image_size: int = 128,
                    seed: int = 0) -> Path:
    """Write a small labelled data set, or reuse it where it is complete.

    Under ``root``: ``{train,val}/<class>/*.jpg``, the class being that of the
    largest object; ``semantic/{train,val}/<class>/*.png``, 0 for background
    and class index + 1; ``annotations/instances_{train,val}.json``, COCO with
    exact run-length masks, file names relative to ``root``. Image ``i`` of a
    split depends on ``seed``, ``image_size`` and ``i`` only, and its bytes on
    the versions of numpy and OpenCV besides.

    Args:
        root (str | PathLike): Folder to write to: absent, empty, or an
            earlier demo data set. A complete one of the same arguments is
            reused, any other is written again.
        num_train (int): Number of training images. Defaults to 600.
        num_val (int): Number of validation images. Defaults to 200.
        image_size (int): Side of the square images. Defaults to 128.
        seed (int): Seed of the generator. Defaults to 0.

    Raises:
        ValueError: If a number is out of range, or ``root`` holds anything
            that this function did not write.
    """
    arguments = dict(
        num_train=num_train, num_val=num_val, image_size=image_size, seed=seed)
    for name, low in zip(arguments, (1, 1, 32, 0), strict=True):
        arguments[name] = _checked_int(name, arguments[name], low)
    root = Path(root)
    manifest = dict(version=VERSION, classes=list(CLASSES), **arguments)
    reused = _is_complete(root, manifest)
    if not reused:
        _write(root, manifest)
    print_log(
        f'demo data {"reused" if reused else "written"}: {root}, {num_train} '
        f'+ {num_val} images of {image_size} px, {len(CLASSES)} classes',
        'current')
    return root


def _is_complete(root: Path, manifest: dict[str, Any]) -> bool:
    """Tell whether the set that the manifest describes is there."""
    return (_read_manifest(root) == dict(manifest, complete=True)
            and all((root / folder).is_dir() for folder in FOLDERS))


def _write(root: Path, manifest: dict[str, Any]) -> None:
    """Replace whatever demo data ``root`` holds."""
    _clear(root)
    # the manifest comes first too: it marks the folder as ours to redo
    _write_json(root / MANIFEST, dict(manifest, complete=False))
    for split_id, split in enumerate(('train', 'val')):
        _write_split(root, split, manifest[f'num_{split}'],
                     manifest['image_size'], (manifest['seed'], split_id))
    _write_json(root / MANIFEST, dict(manifest, complete=True))


def _checked_int(name: str, value: Any, low: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ValueError(f'{name} must be an integer, got {value!r}.')
    if value < low:
        raise ValueError(f'{name} must be >= {low}, got {value}.')
    return int(value)


def _read_manifest(root: Path) -> dict[str, Any]:
    """Return the manifest, or {} for a broken one or an empty folder."""
    if not root.exists() or root.is_dir() and not any(root.iterdir()):
        return {}
    if not (root / MANIFEST).is_file():
        raise ValueError(
            f'root must be absent, empty or a demo data set with its '
            f'{MANIFEST}, got {str(root)!r}; give another folder.')
    try:
        return json.loads((root / MANIFEST).read_text())
    except json.JSONDecodeError:
        return {}


def _clear(root: Path) -> None:
    """Remove what an earlier call wrote, and nothing else."""
    for folder in FOLDERS:
        if (root / folder).exists():
            shutil.rmtree(root / folder)
    root.mkdir(parents=True, exist_ok=True)


def _write_split(root: Path, split: str, num_images: int, image_size: int,
                 seed: tuple[int, int]) -> None:
    """Write the images, semantic maps and annotations of one split."""
    names = list(CLASSES)
    for name in names:
        (root / split / name).mkdir(parents=True)
        (root / 'semantic' / split / name).mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in progress(range(num_images), f'images to {split}'):
        label = index % len(names)
        rng = np.random.default_rng((*seed, index))
        scene = draw_scene(label, image_size, rng)
        stem = f'{split}/{names[label]}/{index:06d}'
        _write_pictures(root, stem, scene)
        images.append(
            dict(id=index + 1, file_name=f'{stem}.jpg', height=image_size,
                 width=image_size))
        for obj in scene.objects:
            annotations.append(
                dict(id=len(annotations) + 1, image_id=index + 1,
                     **coco_object(obj)))
    categories = [dict(id=i + 1, name=name) for i, name in enumerate(names)]
    (root / 'annotations').mkdir(exist_ok=True)
    _write_json(
        root / 'annotations' / f'instances_{split}.json',
        dict(images=images, annotations=annotations, categories=categories))


def _write_pictures(root: Path, stem: str, scene: Scene) -> None:
    image = cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR)
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    for path, picture, options in (
        (root / f'{stem}.jpg', image, quality),
        (root / 'semantic' / f'{stem}.png', scene.semantic_map, []),
    ):
        done, data = cv2.imencode(path.suffix, picture, options)
        assert done
        # unlike cv2.imwrite, this raises when the disk is full
        path.write_bytes(data.tobytes())


def coco_object(obj: DemoObject) -> dict[str, Any]:
    """Return the annotation of an object, its ids left to the caller."""
    ys, xs = np.nonzero(obj.mask)
    x, y = int(xs.min()), int(ys.min())
    box = [x, y, int(xs.max()) - x + 1, int(ys.max()) - y + 1]
    return dict(
        category_id=obj.label + 1, bbox=box, area=len(xs), iscrowd=0,
        segmentation=run_lengths(obj.mask))


def run_lengths(mask: np.ndarray) -> dict[str, list[int]]:
    """Return a bool mask as COCO's uncompressed run-length code."""
    # columns first, and the first run counts zeros
    flat = np.concatenate([[False], mask.ravel(order='F'), [False]])
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    edges = np.concatenate([[0], ends, [mask.size]])
    counts = np.diff(edges)
    # an empty last run is left out
    counts = counts[:-1] if counts[-1] == 0 else counts
    return dict(size=list(mask.shape), counts=counts.tolist())


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, separators=(',', ':')))
