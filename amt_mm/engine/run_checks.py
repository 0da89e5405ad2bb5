"""Refuse runs that saliency updates cannot serve."""

from __future__ import annotations

from mmengine.dist import all_gather_object
from mmengine.runner import EpochBasedTrainLoop, Runner

from amt_mm.datasets.transforms import AMTMaskGenerator
from amt_mm.saliency import SaliencyStore, SaliencyStoreError


def check_run(runner: Runner, generators: list[AMTMaskGenerator]) -> None:
    """Refuse a loop without epochs, and plans that read no or unlike maps."""
    if not isinstance(runner.train_loop, EpochBasedTrainLoop):
        raise ValueError(
            'SaliencyUpdateHook counts epochs: train_cfg must be an '
            'EpochBasedTrainLoop, got '
            f'{type(runner.train_loop).__name__}.')
    if not generators:
        raise ValueError(
            'SaliencyUpdateHook serves nobody: the train pipeline has no '
            'AMTMaskGenerator with an ordering, or with_saliency=True for a '
            'loss, that needs saliency.')
    if len({g.tokens for g in generators}) > 1:
        raise ValueError('all AMTMaskGenerators must have one token grid, got '
                         f'{[g.tokens for g in generators]}.')


def check_same_data(store: SaliencyStore) -> None:
    """Refuse processes that train on different lists of images."""
    lists = all_gather_object((store.num_images, store.dataset_id[:12]))
    if len(set(lists)) > 1:
        raise ValueError(
            'all processes must train on the same images in the same order, '
            f'got by rank (images, fingerprint) {lists}: the data differ '
            'between nodes.')


def check_data_of_run(store: SaliencyStore, begun_with: str | None) -> None:
    """Refuse to go on with other images, where the store is lost too."""
    if begun_with not in (None, store.dataset_id):
        raise SaliencyStoreError(
            'the resumed run belongs to another data set: the fingerprint of '
            f'its images is {str(begun_with)[:12]}..., training has '
            f'{store.num_images} of {store.dataset_id[:12]}... Use the data '
            'set that the run began with, or start afresh.')
