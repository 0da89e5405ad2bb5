"""Every item runs, on toys, whose figures mean nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from projects.benchmark import ITEMS, Item, Result, Setting, item, items
from projects.benchmark.compile_items import count_graphs
from projects.benchmark.lines import line_of
from projects.benchmark.workload import read_config, workloads

NEEDS_A_COMPILER = {'compile', 'mae_step_compiled'}


@pytest.mark.parametrize('name', sorted({*ITEMS} - NEEDS_A_COMPILER))
def test_an_item_runs(name: str) -> None:
    entry = ITEMS[name]
    results = entry.run(Setting(rounds=2, tiny=True))
    assert len({result.item for result in results}) == len(results) > 0
    for result in results:
        line = json.loads(json.dumps(line_of(entry, result)))
        assert line['measured'] == name
        assert math.isfinite(line['value']) and line['value'] > 0
        low, high = line['quartiles']
        assert low <= line['value'] <= high
        assert line['rounds'] >= 1 and line['unit'] == result.unit


def test_every_item_is_named_once_listed_and_says_what_it_measures():
    assert NEEDS_A_COMPILER < {*ITEMS}
    for name, entry in ITEMS.items():
        assert entry.name == name and entry.group and entry.about.endswith('.')
    with pytest.raises(ValueError, match='mae_step'):
        item('mae_step', 'group', 'about.')(lambda setting: [])
    files = {path.stem
             for path in Path(items.__file__).parent.glob('*_items.py')}
    assert files == {file.__name__.split('.')[-1] for file in items.FILES}


def test_one_graph_for_every_plan() -> None:
    _, load = workloads(read_config('mae_amt_vit-b_400e_in1k', tiny=True))
    found = count_graphs(load, 'eager')
    assert (found['graphs'], found['breaks'], found['recompilations']) == (
        1, 0, 0)


def test_a_line_says_where_it_was_measured():
    line = line_of(
        Item('x', lambda setting: [], 'group', 'about.'),
        Result('y', .123456, (.1, .2), 3, extra=dict(peer='z')))
    assert (line['measured'], line['item'], line['value']) == (
        'x', 'y', .1235)
    assert set(line['machine']) >= {'cpu', 'cores', 'threads'}
    assert set(line['versions']) == {
        'python', 'torch', 'mmengine', 'mmpretrain', 'numpy'}
    assert 'extra' not in line and line['peer'] == 'z'
