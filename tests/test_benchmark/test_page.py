"""The page is what its JSON says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from projects.benchmark import ITEMS as ALL
from projects.benchmark import Item, Result
from projects.benchmark.lines import line_of, merge, read_lines
from projects.benchmark.page import render

DOCS = Path(__file__).parents[2] / 'docs'
ITEMS = {
    name: Item(name, lambda setting: [], group, f'About {name}.', default)
    for name, group, default in (
        ('step', 'Steps', True), ('store', 'Store', False))
}


def _lines() -> list[dict]:
    return [
        line_of(ITEMS['step'], Result(
            'amt', .6, (.59, .61), 5, .5,
            extra=dict(peer='stock', arithmetic_ratio=.597, gap=.003,
                       batch_size=16, extra_figure=7))),
        line_of(ITEMS['store'], Result(
            'open', 4.2, (4.2, 4.2), 1, 10., unit='ms')),
        line_of(ITEMS['store'], Result('faster', 12., (11., 13.), 5, 10.,
                                       at_least=True)),
    ]


def test_the_committed_page_and_aims_are_those_of_the_lines():
    lines = read_lines(DOCS / 'performance.json')
    assert lines
    assert render(lines, ALL) == (DOCS / 'performance.md').read_text()
    for line in lines:
        result = Result(line['item'], line['value'], tuple(line['quartiles']),
                        line['rounds'], line['aim'], line['at_least'])
        assert line['meets_aim'] is result.meets_aim, line['item']
    text = (DOCS / 'performance.json').read_text()
    assert not any(path in text for path in ('/home', '/work', '/tmp'))


def test_a_row_holds_value_aim_and_verdict():
    rows = [line for line in render(_lines(), ITEMS).splitlines()
            if line.startswith('|')]
    assert rows[2] == ('| amt | stock | 0.6 | 0.59 to 0.61 | <= 0.5 | **no** '
                       '| 0.597 | 0.003 | 5, 16 | extra figure 7 | 1 |')
    assert rows[5] == ('| open |  | 4.2 ms |  | <= 10 ms | yes |  |  | 1 |  '
                       '| 1 |')
    assert rows[6].startswith('| faster |  | 12 | 11 to 13 | >= 10 | yes |')


def test_groups_and_items_come_in_the_order_of_the_list():
    page = render(_lines()[::-1], ITEMS)
    assert page.index('## Steps') < page.index('## Store')
    assert '`store`: About store. Measured on request.' in page
    with pytest.raises(ValueError, match='store'):
        render(_lines(), {'step': ITEMS['step']})


def test_new_lines_replace_those_of_the_same_item(tmp_path):
    path = tmp_path / 'lines.json'
    merge(path, _lines())
    new = line_of(ITEMS['store'], Result('open', 5., (5., 5.), 1))
    merge(path, [new])
    assert [line['item'] for line in read_lines(path)] == ['amt', 'open']
    assert json.loads(path.read_text())[1]['value'] == 5.
