"""The command line of the benchmark; no figure is looked at."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest

BASE = Path(__file__).parents[2] / 'configs/mae_amt_vit-b_400e_in1k.py'


@pytest.fixture
def benchmark(call):
    return partial(call, 'benchmark')


def test_list_names_the_items(benchmark):
    names = {*re.findall(r'^(\w+)', benchmark('--list').stdout, re.M)}
    assert {'mae_step', 'saliency', 'peak_memory', 'compile'} <= names


@pytest.mark.parametrize(('args', 'message'), [
    ([], 'name a config'), (['--items', 'nothing'], "got ['nothing']"),
    (['--items', 'saliency', '--rounds', 1], '--rounds must be >= 2'),
    (['--page', 'x.md'], '--page renders what --json names')])
def test_what_cannot_be_is_refused(benchmark, args, message):
    done = benchmark(*args)
    assert done.returncode and message in done.stderr


def test_a_config_is_measured_against_stock(benchmark, tmp_path, tiny_arch):
    config = tmp_path / 'tiny.py'
    config.write_text(
        f'_base_ = {str(BASE)!r}\n'
        f'model = dict(backbone=dict(arch=dict(_delete_=True, **{tiny_arch})),'
        ' neck=dict(embed_dim=32, decoder_embed_dim=16, decoder_depth=1, '
        'decoder_num_heads=2))\n')
    done = benchmark(config, '--rounds', 2, '--batch-size', 2, '--bf16')
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line['item'] for line in lines] == ['ours_warmup', 'ours']
    for line in lines:
        assert (line['peer'], line['batch_size'], line['precision']) == (
            'stock', 2, 'bf16')


def test_results_are_kept_and_rendered(benchmark, tmp_path, monkeypatch):
    from projects.benchmark import Result
    from projects.benchmark.item import ITEMS, Item
    file, page = tmp_path / 'lines.json', tmp_path / 'page.md'
    result = Result.of('twice', [2., 2.], aim=3.)
    monkeypatch.setitem(ITEMS, 'fake', Item(
        'fake', lambda setting: [result], 'Fake', 'A fake.'))
    benchmark('--items', 'fake', '--json', file, '--page', page)
    assert [line['item'] for line in json.loads(file.read_text())] == ['twice']
    assert '| twice |  | 2 |  | <= 3 | yes |' in page.read_text()
