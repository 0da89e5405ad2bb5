"""The charts of a report, in the order of its reader's questions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from amt_mm.engine import TrainingPlan
from amt_mm.masking.plan import ROLES

from .charts import Chart, Curve, curve
from .run_folder import Record, Run

SHARE = (0., 1.)


@dataclass(frozen=True)
class Section:
    """Charts below one heading; ``missing`` says how to get more of them."""

    title: str
    charts: list[Chart]
    missing: str = ''


@dataclass(frozen=True)
class Source:
    """A run as the charts need it."""

    index: int
    name: str
    run: Run
    plan: TrainingPlan | None

    def step(self, key: str, factor: float = 1) -> list[Curve]:
        """Draw what is logged in training."""
        return curve(self.index, self.name, self.run.steps, key,
                     self._trained, factor=factor)

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
        Section('Does it learn?', _drawn([
            Chart('Loss', 'mean square error or the method’s own',
                  'On masked patches, as logged.',
                  _all(s.step('loss') for s in sources)),
            Chart('k-NN accuracy', '% top-1',
                  'Of held-out images, by the frozen class token.',
                  _all(s.epoch('probe/knn_top1') for s in sources)),
            Chart('Linear accuracy', '% top-1',
                  'Of held-out images, by a linear classifier on the frozen '
                  'class token.',
                  _all(s.epoch('probe/linear_top1') for s in sources)),
            Chart('Learning rate', 'peak over all layers', '',
                  _all(s.step('base_lr') or s.step('lr') for s in sources)),
        ]), 'k-NN and linear accuracy: default_hooks.probe.type='
            'amt_mm.ProbeHook'),
        Section('Where does it look?', _saliency(sources),
                'Pointing and average precision: default_hooks.localization.'
                'type=amt_mm.LocalizationHook'),
        Section('What becomes of salient patches?', _drawn([
            Chart(f'{role.capitalize()}', 'share of salient tokens',
                  'Dotted: under random masking.' if role == 'masked' else '',
                  _with_uniform(sources, role), SHARE) for role in ROLES
        ])),
        Section('How fast is it?', _drawn([
            Chart('Step', 'ms', 'Forward, backward, optimiser, and the wait '
                  'for data.',
                  _all(s.step('time', 1000) for s in sources)),
            Chart('Wait for data', 'ms a step', '',
                  _all(s.step('data_time', 1000) for s in sources)),
        ])),
    ]


def _saliency(sources: Sequence[Source]) -> list[Chart]:
    return _drawn([
        Chart('Entropy of the maps', 'share of the largest',
              'Mean over the training set, at each saliency update. 1: looks '
              'everywhere alike.',
              _all(s.epoch('saliency/entropy') for s in sources)),
        *(Chart(title, unit, 'Of images with known objects. Dotted: a fixed '
                'guess at the centre.',
                _all(s.epoch(f'localization/{key}') for s in sources)
                + _all(s.epoch(f'localization/centre_{key}', True)
                       for s in sources))
          for key, title, unit in (
              ('pointing', 'Pointing accuracy', 'share of images'),
              ('average_precision', 'Average precision', 'of object pixels')))
    ])


def _with_uniform(sources: Sequence[Source], role: str) -> list[Curve]:
    """Draw a role's share of the salient tokens beside that of all."""
    curves = []
    for source in sources:
        own = source.step(f'p_{role}_salient')
        curves += own + (source.uniform(role) if own else [])
    return curves


def _all(curves: Iterable[list[Curve]]) -> list[Curve]:
    return [one for several in curves for one in several]


def _drawn(charts: list[Chart]) -> list[Chart]:
    """Leave out the charts for which nothing was logged."""
    return [chart for chart in charts if chart.curves]
