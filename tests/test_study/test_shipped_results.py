"""What the page says of the study is what the results say."""

from __future__ import annotations

import pytest
from mmengine.registry import init_default_scope

from projects.study import Results, read_study, render


@pytest.mark.parametrize(('name', 'machine'), [
    ('tiny-imagenet40_cpu', ''), ('tiny-imagenet40_maps', '_h200'),
    ('tiny-imagenet40_maps', '_cpu'), ('cifar10_continue', '_cpu'),
    ('cifar10_continue_20e', '_cpu'), ('cifar10_maps', '_cpu'),
    ('tiny-imagenet40_cross', '_cpu')])
def test_the_table_is_that_of_the_results(pytestconfig, tmp_path, name,
                                          machine):
    init_default_scope('mmpretrain')
    root = pytestconfig.rootpath
    study = read_study(root / 'configs' / 'study' / f'{name}.yaml',
                       tmp_path / 'work')
    results = Results(root / 'docs' / 'study' / f'{name}{machine}.jsonl')
    assert results.lines
    table = render(study, results)
    assert table in (root / 'docs' / 'study.md').read_text()
    # every line is of a row as the plan has it today
    assert table.count('\n') > 2
