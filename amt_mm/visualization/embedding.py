"""Draw images near those whose features are alike.

Shape letters: N images, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
from PIL import Image

from .panels import MARGIN, PAPER

# each with the module that it needs, and the package that brings it
PROJECTIONS = dict(
    pca=('torch', 'torch'),
    tsne=('sklearn', 'scikit-learn'),
    umap=('umap', 'umap-learn'))
MIN_IMAGES = 3
SIDE = 1600  # of the picture, in pixels
THUMBNAILS = 24, 160  # least and largest side


def check_projection(name: str) -> None:
    """Raise ModuleNotFoundError if a projection's package is absent."""
    module, package = PROJECTIONS[name]
    if find_spec(module) is None:
        raise ModuleNotFoundError(
            f'{name} needs the package {package}, which is not installed: '
            f'pip install {package}')


def project(features: np.ndarray, name: str) -> np.ndarray:
    """Return places (N, 2) of features (N, D) by one of ``PROJECTIONS``."""
    if len(features) < MIN_IMAGES:
        raise ValueError(f'{name} needs at least {MIN_IMAGES} images, got '
                         f'{len(features)}.')
    if name == 'tsne':
        from sklearn.manifold import TSNE
        return TSNE(init='pca', random_state=0, perplexity=min(
            30, (len(features) - 1) / 3)).fit_transform(features)
    if name == 'umap':
        from umap import UMAP
        return UMAP(random_state=0, n_neighbors=min(
            15, len(features) - 1)).fit_transform(features)
    centred = features - features.mean(0)
    return centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T


def thumbnail_side(number: int) -> int:
    """Return the larger side of each of so many thumbnails, in pixels."""
    return int(np.clip(SIDE / np.sqrt(number), *THUMBNAILS))


def draw_embedding(places: np.ndarray,
                   thumbnails: Sequence[np.ndarray]) -> np.ndarray:
    """Put thumbnails at places (N, 2), each axis stretched to the picture."""
    low, high = places.min(0), places.max(0)
    shares = (places - low) / np.where(high > low, high - low, 1)
    shares[:, 1] = 1 - shares[:, 1]  # upwards
    room = SIDE - 2 * MARGIN - max(
        side for tile in thumbnails for side in tile.shape[:2])
    picture = Image.new('RGB', (SIDE, SIDE), (PAPER, ) * 3)
    for share, tile in zip(shares, thumbnails, strict=True):
        left, top = (MARGIN + room * share).round().astype(int).tolist()
        picture.paste(Image.fromarray(tile), (left, top))
    return np.asarray(picture)
