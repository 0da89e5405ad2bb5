"""The results of a study as a table and as a picture."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from scipy import stats

from .plan import Study
from .results import Line, Results
from .run import runs_of

METRICS = dict(primary='primary', knn='k-NN', linear='linear',
               knn_unseen='k-NN, unseen', linear_unseen='linear, unseen',
               knn_mean_unseen='k-NN of mean, unseen',
               linear_mean_unseen='linear of mean, unseen',
               finetune='fine-tuned', pointing='points at object')
PRIMARY = 'primary'  # what a row is judged by, where it was measured


@dataclass(frozen=True)
class Figure:
    """Values of one measure, by seed."""

    values: dict[int, float]

    def __str__(self) -> str:
        """Write mean and standard deviation over the seeds."""
        if not self.values:
            return '-'
        mean = statistics.mean(self.values.values())
        if len(self.values) == 1:
            return f'{mean:.2f}'
        spread = statistics.stdev(self.values.values())
        return f'{mean:.2f} ± {spread:.2f}'

    def minus(self, other: Figure) -> str:
        """Write the mean difference, seed by seed, and its standard error."""
        gaps = self._gaps(other)
        if not gaps:
            return '-'
        mean = statistics.mean(gaps)
        if len(gaps) == 1:
            return f'{mean:+.2f}'
        error = statistics.stdev(gaps) / len(gaps)**.5
        return f'{mean:+.2f} ± {error:.2f}'

    def p_value(self, other: Figure) -> float:
        """Return p of the paired t-test, two-sided; NaN of fewer than two."""
        gaps = self._gaps(other)
        if len(gaps) < 2:
            return math.nan
        return float(stats.ttest_1samp(gaps, 0).pvalue)

    def _gaps(self, other: Figure) -> list[float]:
        """Return the differences of the seeds that both have."""
        return [value - other.values[seed]
                for seed, value in sorted(self.values.items())
                if seed in other.values]


def collect(study: Study, lines: list[Line]) -> dict[str, dict[str, Figure]]:
    """Return the figures of all rows, of lines as :func:`lines_of` returns.

    A row without a result has none of a measure.
    """
    found: dict[str, dict[str, dict[int, float]]] = {
        name: {} for name in study.rows}
    for line in lines:
        for name, value in line.items():
            if isinstance(value, (int, float)) and name != 'seed':
                found[line['row']].setdefault(name, {})[line['seed']] = value
    return {
        row: {name: Figure(values) for name, values in own.items()}
        for row, own in found.items()
    }


def lines_of(study: Study, results: Results) -> list[Line]:
    """Return what was measured with the settings of the plan."""
    # the settings of a row of equal compute take long to find
    measured = {(line['row'], line['seed']) for line in results.lines}
    settings = {key: run.settings for run in runs_of(study)
                if (key := (run.row.name, run.seed)) in measured}
    return [
        line for line in results.lines
        if settings.get((line['row'], line['seed'])) == line['settings']
    ]


def render(study: Study, results: Results) -> str:
    """Return a table in Markdown, a row a line, the baseline's first.

    Rows without a result are named below it.
    """
    rows = collect(study, lines_of(study, results))
    base = rows[study.baseline]
    missing = [name for name, own in rows.items()
               if not own and name != study.baseline]
    names = [m for m in METRICS if any(m in own for own in rows.values())]
    heads = ['row', 'seeds', 'epochs', 'cost', 'step']
    for metric in names:
        heads += [METRICS[metric], 'against baseline']
        heads += ['p'] * (metric == PRIMARY)
    lines = [heads, ['---'] * len(heads)]
    shown = [name for name in rows if name not in missing]
    for name in sorted(shown, key=lambda name: name != study.baseline):
        own = rows[name]
        cells = [name, str(len(_of(own, 'macs').values)),
                 _number(_mean(own, 'epochs'), 0),
                 _number(_mean(own, 'macs') / _mean(base, 'macs'), 3),
                 '1' if name == study.baseline else
                 _number(_mean(own, 'step'), 2)]
        for metric in names:
            cells += [str(_of(own, metric)),
                      '' if name == study.baseline else
                      _of(own, metric).minus(_of(base, metric))]
            if metric == PRIMARY:
                cells.append('' if name == study.baseline else _number(
                    _of(own, metric).p_value(_of(base, metric)), 3))
        lines.append(cells)
    table = '\n'.join(f'| {" | ".join(cells)} |' for cells in lines) + '\n'
    if missing:
        listed = ', '.join(f'`{name}`' for name in missing)
        table += f'\nWithout a result: {listed}.\n'
    return table


def draw(study: Study, results: Results, path: Path) -> None:
    """Plot accuracy against the multiply-accumulates of the run.

    Beside it, how often the saliency pointed at the object, by epoch, a line
    for each seed.
    """
    matplotlib.use('Agg')
    from matplotlib import pyplot as plt
    lines = lines_of(study, results)
    rows = collect(study, lines)
    metric = PRIMARY if any(PRIMARY in own for own in rows.values()) \
        else 'linear'
    figure, (axis, other) = plt.subplots(
        1, 2, figsize=(12, 4.5), layout='constrained', width_ratios=(3, 2))
    shown = [name for name, own in rows.items() if _of(own, metric).values]
    tab20 = plt.get_cmap('tab20')
    colours = {name: tab20(n % tab20.N) for n, name in enumerate(shown)}
    for name, colour in colours.items():
        values = list(_of(rows[name], metric).values.values())
        x = _mean(rows[name], 'macs') / _mean(rows[study.baseline], 'macs')
        mean = statistics.mean(values)
        error = [[mean - min(values)], [max(values) - mean]]
        marker = 's' if name == study.baseline else 'o'
        axis.errorbar(x, mean, yerr=error, fmt=marker, capsize=3, label=name,
                      color=colour)
        axis.annotate(name, (x, mean), (5, 3), textcoords='offset points',
                      fontsize=8)
    axis.set(xlabel=f'multiply-accumulates over those of {study.baseline}',
             ylabel=f'{METRICS[metric]} top-1 [%], mean, lowest, highest')
    for line in lines:
        curve = line.get('over_training')
        if curve and line['row'] in colours:
            other.plot([int(epoch) for epoch in curve], curve.values(), '.-',
                       color=colours[line['row']])
    other.set(xlabel='epoch', ylabel='saliency points at the object [%]')
    if shown:
        figure.legend(loc='outside right upper', fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _of(own: dict[str, Figure], name: str) -> Figure:
    return own.get(name, Figure({}))


def _number(value: float, places: int) -> str:
    return '-' if math.isnan(value) else f'{value:.{places}f}'


def _mean(own: dict[str, Figure], name: str) -> float:
    values = _of(own, name).values.values()
    return statistics.mean(values) if values else float('nan')

