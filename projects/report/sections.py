"""The charts of a report, in the order of its reader's questions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from amt_mm.engine import CostEstimate
from amt_mm.masking.plan import ROLES

from .charts import Chart, Curve, curve
from .run_folder import Record, Run

SHARE = (0., 1.)
OPTION = '--cfg-options default_hooks.'


@dataclass(frozen=True)
class Section:
    """Charts below one heading; ``missing`` says how to get some."""

    title: str
    charts: list[Chart]
    missing: str = ''


@dataclass(frozen=True)
class Source:
    """A run as the charts need it."""

    index: int
    name: str
    run: Run
    plan: CostEstimate | None

    def step(self, key: str, factor: float = 1,
             is_reference: bool = False) -> list[Curve]:
        """Draw what is logged in training."""
        return curve(self.index, self.name, self.run.steps, key,
                     self._trained, is_reference, factor)

    def epoch(self, key: str, is_reference: bool = False) -> list[Curve]:
        """Draw what is logged between epochs."""
        return curve(self.index, self.name, self.run.epochs, key,
                     lambda r: r['epoch'], is_reference)

    def uniform(self, role: str) -> list[Curve]:
        """Draw the share of a role, as it is without saliency."""
        if not self.plan or not self.run.steps:
            return []
        counts = self.plan.phases[-1].counts
        share = getattr(counts, role) / sum(counts)
        ends = [float(self.plan.phases[0].epochs),
                self._trained(self.run.steps[-1])]
        return [Curve(self.index, self.name, ends, [share, share], True)]

    def _trained(self, record: Record) -> float:
        return record['step'] / self.run.batches_per_epoch


def sections(sources: Sequence[Source]) -> list[Section]:
    """Return all sections; one may be without charts."""
    return [
        _section('How does it train?', _training(sources)),
        _section('What has it learned?', _probes(sources),
                 'Accuracy is logged with '
                 f'{OPTION}probe.type=amt_mm.ProbeHook.'),
        _section('What has it learned, without labels?', _checkups(sources),
                 'RankMe and the loss of held-out images are logged with '
                 f'{OPTION}checkup.type=amt_mm.CheckupHook '
                 'default_hooks.checkup.heldout=DIR.'),
        _section('Where does it look?', _saliency(sources),
                 'Whether it finds the objects is logged with '
                 f'{OPTION}localization.type=amt_mm.LocalizationHook and the '
                 'images and masks it names.'),
        _section('What becomes of salient patches?', [
            Chart(role.capitalize(), 'share of salient patches',
                  'Dotted: of all patches, which random masking would give.',
                  _with_uniform(sources, role), SHARE) for role in ROLES
        ]),
    ]


def _section(title: str, charts: list[Chart], missing: str = '') -> Section:
    """Leave out the charts for which nothing was logged."""
    drawn = [chart for chart in charts if chart.curves]
    is_whole = any(chart is charts[-1] for chart in drawn)
    return Section(title, drawn, '' if is_whole else missing)


def _training(sources: Sequence[Source]) -> list[Chart]:
    return [
        Chart('Loss', 'as the method defines it', 'On masked patches only: '
              'runs that mask otherwise do not compare.',
              _all(s.step('loss') for s in sources)),
        Chart('Learning rate', '', 'Of the first group of parameters.',
              _all(s.step('lr') for s in sources)),
        _step_time(sources),
    ]


def _step_time(sources: Sequence[Source]) -> Chart:
    times = _all(s.step('time', 1000) for s in sources)
    medians = [float(np.nanmedian(curve.y)) for curve in times]
    return Chart(
        'Time of a step', 'ms',
        'Dotted: the part of it that waits for data. The axis ends at three '
        'times the median: a saliency update or a probe counts to the step '
        'that follows.',
        times + _all(s.step('data_time', 1000, True) for s in sources),
        (0., 3 * max(medians)) if medians else None)


def _probes(sources: Sequence[Source]) -> list[Chart]:
    return [
        Chart(title, '%, top-1', f'Of held-out images, by {how} the frozen '
              'class token. Dotted: the mean of the patch tokens.',
              _all(s.epoch(f'probe/{key}_top1') for s in sources)
              + _all(s.epoch(f'probe/{key}_mean_top1', True)
                     for s in sources))
        for key, title, how in (
            ('knn', 'k-NN accuracy', 'the nearest neighbours of'),
            ('linear', 'Linear accuracy', 'a linear classifier on'))
    ]


def _checkups(sources: Sequence[Source]) -> list[Chart]:
    return [
        Chart('Loss of a fixed sample', 'as the method defines it',
              'Of the same whole images, under plans as training makes them. '
              'Dotted: of images that are not trained on.',
              _all(s.epoch('checkup/loss') for s in sources)
              + _all(s.epoch('checkup/heldout_loss', True)
                     for s in sources)),
        *(Chart(title, unit, what,
                _all(s.epoch(f'checkup/{key}') for s in sources))
          for key, title, unit, what in (
              ('rank_me', 'RankMe', 'dimensions',
               'How many dimensions the features of images take.'),
              ('spread', 'Spread of the features', '0 to 1',
               'At 0 the features of all images point the same way.')))]


def _saliency(sources: Sequence[Source]) -> list[Chart]:
    entropy = Chart(
        'Entropy of the maps', 'share of the largest',
        'Mean over the training images, at each saliency update. At 1 all '
        'patches weigh the same.',
        _all(s.epoch('saliency/entropy') for s in sources))
    return [entropy, *(
        Chart(title, unit, f'{what} Dotted: a fixed guess at the centre.',
              _all(s.epoch(f'localization/{key}') for s in sources)
              + _all(s.epoch(f'localization/centre_{key}', True)
                     for s in sources))
        for key, title, unit, what in (
            ('pointing', 'Pointing accuracy', 'share of images',
             'Where the peak of the map is on an object.'),
            ('average_precision', 'Average precision', 'mean over images',
             'Of the map as a score of object pixels.')))]


def _with_uniform(sources: Sequence[Source], role: str) -> list[Curve]:
    """Draw a role's share of the salient tokens beside that of all."""
    curves = []
    for source in sources:
        own = source.step(f'p_{role}_salient')
        curves += own + (source.uniform(role) if own else [])
    return curves


def _all(curves: Iterable[list[Curve]]) -> list[Curve]:
    return [one for several in curves for one in several]
