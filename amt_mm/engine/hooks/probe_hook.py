"""Accuracy of simple classifiers during pre-training."""

from __future__ import annotations

import time
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import DATASETS
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor

from amt_mm.arguments import (
    check_batch_size,
    check_bool,
    check_config,
    check_int,
    check_num_workers,
    check_number,
)
from amt_mm.datasets.training_set import parts_of
from amt_mm.engine.sources.model_saliency import full_params, unwrap_model
from amt_mm.engine.whole_images import loader_like_training, whole_images
from amt_mm.evaluation import (
    QUERIES_OF,
    Labelled,
    class_token_and_mean,
    count_not_finite,
    draw_subsets,
    extract_features,
    labels_of,
    probe_accuracies,
)
from amt_mm.registry import HOOKS


@HOOKS.register_module()
class ProbeHook(Hook):
    """Classify held-out images by the frozen encoder, every so many epochs.

    Reports the top-1 accuracy of weighted k-NN (:func:`weighted_knn`) and of
    a linear classifier (:func:`linear_probe`) on the class token after the
    final norm, and on the mean of the patch tokens, since in MAE nothing
    trains the class token. Images are resized whole to the input size, with
    nothing masked. No gradient reaches the encoder and no random number is
    drawn: the run is bit for bit the one without the hook. Each process
    encodes its share, the main process classifies. A final probe follows the
    last epoch.

    One line turns it on::

        --cfg-options default_hooks.probe.type=amt_mm.ProbeHook

    and ``default_hooks.probe.dataset=DIR`` where the run's own images have no
    labels. The results go to the log, to the visualizer and to the message
    hub, as ``probe/knn_top1`` and ``probe/linear_top1`` of the class token,
    ``probe/knn_mean_top1`` and ``probe/linear_mean_top1`` of the mean. A
    backbone that gives features (B, D) and no tokens has the first two only.

    Args:
        interval (int): Epochs between two probes. Defaults to 10.
        at_start (bool): Whether to probe the weights the run starts from,
            as a baseline. Defaults to True.
        dataset (str | dict, optional): Labelled images: a folder with one
            folder for each class, or the config of a data set, whose pipeline
            has no effect. Defaults to the training set of the run.
        val_dataset (str | dict, optional): The queries. Defaults to every
            fifth image of ``dataset``, drawn once and for all; the others are
            the bank.
        max_images (int): Images of a probe at most, a fifth of them queries.
            Defaults to 20000.
        k (int): Neighbours that vote. Defaults to 20.
        temperature (float): Temperature of their votes. Defaults to 0.07.
        linear (bool): Whether to fit the linear classifier too.
            Defaults to True.
        batch_size (int, optional): Images per forward pass and process.
            Defaults to that of the training loader.
        num_workers (int, optional): Workers that load the images.
            Defaults to that of the training loader.

    Raises:
        ValueError: At the start of a run, if the images have no labels, are
            of one class, or are too few for ``k``.
    """

    priority = 'NORMAL'

    def __init__(self,
                 interval: int = 10,
                 at_start: bool = True,
                 dataset: str | dict | None = None,
                 val_dataset: str | dict | None = None,
                 max_images: int = 20_000,
                 k: int = 20,
                 temperature: float = 0.07,
                 linear: bool = True,
                 batch_size: int | None = None,
                 num_workers: int | None = None) -> None:
        self.interval = check_int('interval', interval, 1)
        self.at_start = check_bool('at_start', at_start)
        self.dataset = dataset
        self.val_dataset = val_dataset
        self.max_images = check_int('max_images', max_images, QUERIES_OF)
        self.k = check_int('k', k, 1)
        self.temperature = check_number('temperature', temperature, '(0, inf)')
        self.linear = check_bool('linear', linear)
        self.batch_size = check_batch_size('batch_size', batch_size)
        self.num_workers = check_num_workers('num_workers', num_workers)

    def before_train(self, runner: Runner) -> None:
        """Find the labelled images, and probe the weights of the start."""
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ValueError('ProbeHook counts epochs: train_cfg must be an '
                             'EpochBasedTrainLoop, got '
                             f'{type(runner.train_loop).__name__}.')
        train, *others = parts_of(runner.train_dataloader.dataset)
        if others:
            raise ValueError('ProbeHook needs one training set, got '
                             f'{1 + len(others)} joined.')
        whole_images(train)  # raises an error if there is no crop
        self.bank, self.queries = self._split(train)
        try:
            self.labels = [labels_of(each)
                           for each in (self.bank, self.queries)]
        except ValueError as error:
            raise ValueError(
                f'ProbeHook needs labels: {error} Give it a folder with one '
                'folder for each class, default_hooks.probe.dataset=DIR, or '
                'the config of a labelled data set.') from error
        for images in (self.bank, self.queries):
            images.pipeline = train.pipeline
        if self.k > len(self.bank) or not len(self.queries):
            raise ValueError(
                f'ProbeHook needs at least k={self.k} images in the bank and '
                f'one query, got {len(self.bank)} and {len(self.queries)}.')
        if len(self.labels[0].unique()) < 2:
            raise ValueError('ProbeHook needs images of two classes or more, '
                             f'got one class of {len(self.bank)} images.')
        if self.at_start and runner.epoch == 0:
            self.probe(runner, 0)

    def after_train_epoch(self, runner: Runner) -> None:
        """Probe every ``interval`` epochs and after the last."""
        if self.every_n_epochs(runner, self.interval) or \
                self.is_last_train_epoch(runner):
            self.probe(runner, runner.epoch + 1)

    def _split(self, train: BaseDataset) -> list[BaseDataset]:
        """Return the images of the bank and the queries."""
        images = train if self.dataset is None else _build(
            'dataset', self.dataset)
        if self.val_dataset is None:
            num = min(len(images), self.max_images)
            num_queries = num // QUERIES_OF
            return draw_subsets(images, num - num_queries, num_queries)
        others = _build('val_dataset', self.val_dataset)
        num_queries = self.max_images // QUERIES_OF
        return [*draw_subsets(images, self.max_images - num_queries),
                *draw_subsets(others, num_queries)]

    def probe(self, runner: Runner, epoch: int) -> None:
        """Report how well the current weights tell the classes apart."""
        start = time.perf_counter()
        bank, queries = (self.features(runner, images)
                         for images in (self.bank, self.queries))
        if not is_main_process():
            return
        num_bad = sum(count_not_finite(features.flatten(1))
                      for features in (bank, queries))
        if num_bad:
            runner.logger.warning(
                f'probe: epoch {epoch}, none, as the features of {num_bad:,} '
                f'of {len(bank) + len(queries):,} images are not finite.')
            return
        known, asked = map(Labelled, (bank, queries), self.labels)
        results = probe_accuracies(asked, known, self.k, self.temperature,
                                   self.linear)
        seconds = time.perf_counter() - start
        runner.logger.info(
            f'probe: epoch {epoch}, {_summary(results)} ({len(bank):,} bank '
            f'and {len(queries):,} query images, {seconds:.0f} s)')
        scalars = {f'probe/{name}_top1': top for name, top in results.items()}
        runner.message_hub.update_scalars(scalars)
        runner.visualizer.add_scalars(
            dict(scalars, epoch=epoch), step=epoch,
            file_path=f'{runner.timestamp}.json')

    def features(self, runner: Runner, images: BaseDataset) -> Tensor:
        """Encode images (N, F, D), each process its share, as the run does.

        F is 2, class token and mean, or 1 where there are no tokens.
        """
        loader = loader_like_training(
            runner, whole_images(images), self.batch_size, self.num_workers)
        model = unwrap_model(runner)
        with full_params(runner.model), \
                runner.optim_wrapper.optim_context(model):
            features = extract_features(
                model, loader, class_token_and_mean)
        return features.to(model.data_preprocessor.device)


def _summary(results: dict[str, float]) -> str:
    """Say top-1 by the class token, then by the mean of the patches."""
    titles = dict(knn='k-NN', linear='linear')
    tops = ', '.join(f'{title} top-1 {results[name]:.2f}'
                     for name, title in titles.items() if name in results)
    means = ', '.join(f'{results[f"{name}_mean"]:.2f}' for name in titles
                      if f'{name}_mean' in results)
    return f'{tops}; of the patch mean {means}' if means else tops


def _build(name: str, dataset: str | dict[str, Any]) -> BaseDataset:
    """Build the data set of a folder, or of a config."""
    if isinstance(dataset, str):
        dataset = dict(type='mmpretrain.CustomDataset', data_root=dataset)
    check_config(f'{name} of ProbeHook', dataset)
    built, = parts_of(DATASETS.build(dataset))
    built.full_init()
    return built
