"""The page about a run: its numbers are those of the run."""

from __future__ import annotations

import json
import re
import shutil
from html import unescape

import numpy as np
import pytest
from mmengine.config import Config
from tiny_run import (
    NUM_IMAGES,
    lines_of,
    log_of,
    loss_trace,
    scalars_of,
    store_of,
)

from amt_mm.engine import estimate_cost
from amt_mm.saliency import mean_entropy
from projects.benchmark.workload import stock_config
from projects.report import NoRunError, read_run, write_report

BATCHES = NUM_IMAGES // 4 + 1
ONE_VALUE = {'log_processor': dict(window_size=1)}


class Page:
    """What a page shows: its text, the cells of its tables and its curves."""

    def __init__(self, path):
        source = path.read_text()
        charts = re.findall(r'data-chart=.*?aria-label="(.*?),', source)
        data, = re.findall(r'<script id="data".*?>(.*?)</script>', source,
                           re.DOTALL)
        self.curves = dict(zip(
            charts, (chart['data'] for chart in json.loads(data)['charts']),
            strict=True))
        self.text = unescape(re.sub(
            r'<(script|style).*?</\1>|<.*?>', '', source, flags=re.DOTALL))
        self.cells = [
            unescape(re.sub('<.*?>', '', cell)) for cell in
            re.findall(
                r'<t[dh]\b.*?>(.*?)</t[dh]>', source, re.DOTALL)]

    def row(self, name, run=0):
        """Return the value of a run that stands in a table's row."""
        return self.cells[self.cells.index(name) + 1 + run]


@pytest.fixture
def page_of(tmp_path):
    """Return a function that writes and reads the page of work dirs."""

    def write(*work_dirs):
        out = tmp_path / 'report.html'
        write_report([tmp_path / name for name in work_dirs], out)
        return Page(out)

    return write


def scalars_with(runner, key):
    """Return the values of a key in the JSON log of a runner."""
    return [line[key] for line in lines_of(scalars_of(runner), key)]


def test_numbers_are_those_of_the_run(tiny_cfg, run, page_of, images):
    hook = dict(type='amt_mm.LocalizationHook', images=str(images),
                masks=str(images.parent / 'semantic' / 'train'), interval=2)
    cfg = tiny_cfg(**ONE_VALUE, **{
        'train_cfg.max_epochs': 4, 'default_hooks.localization': hook})
    runner = run(cfg)
    page = page_of('run')
    loss, = page.curves['Loss']
    assert np.allclose(loss['y'], loss_trace(runner), rtol=1e-5)
    assert np.allclose(loss['x'], np.arange(1, 4 * BATCHES + 1) / BATCHES,
                       rtol=1e-5)
    for role in ('masked', 'thrown', 'visible'):
        shares, uniform = page.curves[role.capitalize()]
        assert np.allclose(shares['y'], scalars_with(
            runner, f'p_{role}_salient'), rtol=1e-5)
    assert uniform['y'] == pytest.approx([3 / 16] * 2, rel=1e-5)
    step, wait = page.curves['Time of a step']
    assert np.allclose(step['y'], 1000 * np.array(
        scalars_with(runner, 'time')), rtol=1e-5)
    assert np.array(wait['y']).max() <= np.array(step['y']).max()
    # updates come before the 0-based epochs 1 and 3
    entropy, = page.curves['Entropy of the maps']
    assert entropy['x'] == [1, 3]
    store = store_of(runner)
    maps = np.load(store.path(3), allow_pickle=False)['map']
    assert entropy['y'][-1] == pytest.approx(mean_entropy(maps), rel=1e-5)
    own, centre = page.curves['Average precision']
    assert own['x'] == centre['x'] == [0, 2, 4]
    assert 0 < own['y'][-1] < 1 and len(set(centre['y'])) == 1
    plan = estimate_cost(cfg)
    assert str(plan) in page.text
    assert page.row('Arithmetic, whole run × stock') == f'{plan.cost:.3f}'
    assert page.row('Epochs reached') == '4 of 4'
    warnings = {line for line in log_of(runner).splitlines()
                if ' - WARNING - ' in line}
    assert page.row('Warnings in the logs') == str(len(warnings)) != '0'
    assert all(line.split(' - WARNING - ')[1] in page.text
               for line in warnings)
    assert page.row('Loss') == f'{loss_trace(runner)[-1]:.4g}'


def test_a_stock_run_beside_ours(tiny_cfg, run, finished, page_of):
    finished(2, 'ours')
    cfg = tiny_cfg('stock', **{'train_cfg.max_epochs': 2})
    cfg.model = Config(dict(model=stock_config(cfg.model.to_dict()))).model
    cfg.custom_hooks = cfg.custom_hooks[:1]
    cfg.train_dataloader.dataset.pipeline.pop(4)
    run(cfg)
    page = page_of('ours', 'stock')
    ours, stock = page.curves['Loss']
    assert (ours['name'], stock['name']) == ('ours', 'stock')
    assert len(stock['y']) == 2 * BATCHES
    assert 'No plan' in page.text
    assert 'model.backbone.type' in page.text
    assert not [c for c in page.cells if c.startswith('model.data_pre')]
    ours, stock = (float(page.row('Arithmetic, step GMACs/image', i))
                   for i in (0, 1))
    assert 0 < ours < stock


def test_what_is_missing_is_left_out(finished, page_of, tmp_path):
    scalars = next(finished(1)[0].glob('*/vis_data/scalars.json'))
    with open(scalars, 'a') as file:  # as the machine stops amid a line
        file.write('{"loss": 0.5, "st')
    assert len(page_of('run').curves['Loss'][0]['y']) == BATCHES
    for path in (*scalars.parent.glob('config.py'),
                 *scalars.parents[1].glob('*.log')):
        path.unlink()
    page = page_of('run')
    assert len(page.curves['Loss'][0]['y']) == BATCHES
    assert 'There is no log.' in page.text and 'No plan' in page.text
    scalars.unlink()
    assert page_of('run').curves == {}
    shutil.rmtree(scalars.parents[1])
    with pytest.raises(NoRunError, match='holds none'):
        read_run(tmp_path / 'run')
    with pytest.raises(NoRunError, match='is no folder'):
        read_run(tmp_path / 'nowhere')
