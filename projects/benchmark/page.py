"""The page of all figures, rendered from their JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .item import Item

Line = Mapping[str, Any]

HEAD = """# Performance

<!-- Rendered by tools/benchmark.py from performance.json: do not edit. -->

Every figure is ours over the peer's on the same work. Both sides take turns in
one process, so that they see the same machine; the figure is the median over
the rounds, with its quartiles. The arithmetic is the ratio of the
multiply-accumulates of both, counted on the operations that run; the gap is
what the ratio of time is above it. Where there is an optimiser, the ratio
without it is of forward and backward alone. `make bench` measures all of it
anew, except what is marked as measured on request. On a GPU: [gpu.md](gpu.md).
"""

FIRST = 'Peers'
MET = {True: 'yes', False: '**no**', None: ''}


def render(lines: Sequence[Line], items: Mapping[str, Item]) -> str:
    """Return the page in Markdown."""
    unknown = {line['measured'] for line in lines} - set(items)
    if unknown:
        raise ValueError(f'no items {sorted(unknown)}, only {list(items)}.')
    settings = list(dict.fromkeys(setting_of(line) for line in lines))
    parts = [HEAD]
    groups = dict.fromkeys(item.group for item in items.values())
    for group in sorted(groups, key=lambda name: name != FIRST):
        shown = [
            section(item, own, settings) for item in items.values()
            if item.group == group
            and (own := [n for n in lines if n['measured'] == item.name])
        ]
        if shown:
            parts += [f'## {group}\n', *shown]
    parts.append('## Measured on\n')
    parts += [f'{n}. {setting}' for n, setting in enumerate(settings, 1)]
    return '\n'.join(parts) + '\n'


def section(item: Item, lines: Iterable[Line],
            settings: Sequence[str]) -> str:
    """Return what one item measures, and the table of its results."""
    asked = '' if item.default else ' Measured on request.'
    return '\n'.join([
        f'`{item.name}`: {item.about}{asked}\n',
        '| figure | over | value | quartiles | aim | met | arithmetic | gap | '
        'rounds, batch | more | on |',
        '|---|---|---|---|---|---|---|---|---|---|---|',
        *(row(line, settings) for line in lines), ''
    ])


def row(line: Line, settings: Sequence[str]) -> str:
    """Return a row of a table."""
    unit = '' if line['unit'] == 'ratio' else f' {line["unit"]}'
    low, high = line['quartiles']
    aim = '' if line['aim'] is None else \
        f'{">=" if line["at_least"] else "<="} {line["aim"]:g}{unit}'
    spread = '' if low == high else f'{low:g} to {high:g}'
    batch = f', {line["batch_size"]}' if 'batch_size' in line else ''
    cells = [
        line['item'], line.get('peer', ''), f'{line["value"]:g}{unit}',
        spread, aim, MET[line['meets_aim']],
        _number(line, 'arithmetic_ratio'), _number(line, 'gap'),
        f'{line["rounds"]}{batch}', more(line),
        str(settings.index(setting_of(line)) + 1)
    ]
    return f'| {" | ".join(cells)} |'


KNOWN = {
    'measured', 'item', 'value', 'quartiles', 'rounds', 'aim', 'at_least',
    'unit', 'meets_aim', 'peer', 'macs', 'peer_macs', 'arithmetic_ratio',
    'gap', 'batch_size', 'machine', 'versions'
}


def more(line: Line) -> str:
    """Say the figures that have no column."""
    return ', '.join(f'{key.replace("_", " ")} {value}'
                     for key, value in line.items() if key not in KNOWN)


def setting_of(line: Line) -> str:
    """Say in one sentence what a line was measured on."""
    machine, versions = line['machine'], line['versions']
    gpu = f'{machine["gpu"]}, ' if 'gpu' in machine else ''
    return (f'{gpu}{machine["cpu"]}, {machine["cores"]} cores, '
            f'{machine["threads"]} threads; '
            + ', '.join(f'{k} {v}' for k, v in versions.items()) + '.')


def _number(line: Line, key: str) -> str:
    return f'{line[key]:g}' if key in line else ''
