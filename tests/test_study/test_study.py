"""A study of two tiny rows, through the real runner, killed and resumed."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from filelock import FileLock
from mmengine.registry import init_default_scope
from PIL import Image

from amt_mm.engine.cost import estimate_cost
from amt_mm.weights import read_state_dict
from projects.study import (
    Results,
    draw,
    read_study,
    render,
    run_study,
    runs_of,
)
from projects.study import stages as stages_module
from projects.study.evaluate import Evaluation
from projects.study.table import Figure

RANDOM = dict(mask_ratio=.75, throw_ratio=0.,
              ordering=dict(type='amt_mm.RandomOrdering'))
MAE = dict(mae=dict(mask_generator=RANDOM))
CONFIG = """
_base_ = '{configs}/study/mae_vit-t_64.py'
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=32, num_layers=2, num_heads=2,
                  feedforward_channels=64)),
    neck=dict(embed_dim=32, decoder_embed_dim=16, decoder_depth=1,
              decoder_num_heads=2))
train_dataloader = dict(batch_size=8, num_workers=0)
param_scheduler = []
"""


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpretrain')


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Two classes, bright left or bright right, 12 and 6 images each."""
    root = tmp_path_factory.mktemp('photos')
    rng = np.random.default_rng(0)
    boxes = []
    for split, number in (('train', 12), ('test', 6)):
        for label, name in enumerate(('left', 'right')):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(number):
                pixels = rng.integers(0, 60, (64, 64, 3), dtype=np.uint8)
                pixels[:, 32 * label:32 * label + 32] += 150
                Image.fromarray(pixels).save(folder / f'{i}.png')
                x = 32 * label
                boxes.append((split, f'{name}/{i}.png {x} 0 {x + 32} 64'))
    for split in ('train', 'test'):
        (root / f'{split}_boxes.txt').write_text('\n'.join(
            line for own, line in boxes if own == split) + '\n')
    return root


@pytest.fixture
def make(photos, tmp_path, pytestconfig):
    """Return a function that writes a plan and reads it."""
    (tmp_path / 'tiny.py').write_text(
        CONFIG.format(configs=pytestconfig.rootpath / 'configs'))

    def read(data_root=None, **changes):
        plan = dict(
            config='tiny.py', baseline='mae', epochs=2, seeds=[0],
            data=dict(root=str(photos), train='train', test='test',
                      max_train=16, test_boxes='test_boxes.txt'),
            evaluation=dict(max_bank=20, k=3),
            rows=dict(
                MAE, oracle=dict(seeds=[0], saliency=dict(source=dict(
                    type='amt_mm.BoxSaliency',
                    ann_file='{root}/train_boxes.txt')))))
        plan.update(changes)
        path = tmp_path / 'plan.yaml'
        path.write_text(yaml.safe_dump(plan))
        return read_study(path, tmp_path / 'work', data_root)

    return read


def test_a_killed_study_goes_on_where_it_stopped(make, monkeypatch, tmp_path):
    study = make(seeds=[0, 1])
    path = tmp_path / 'results.jsonl'
    genuine, done = stages_module.frozen, []

    def killed(run):
        if done:
            raise KeyboardInterrupt
        done.append(run)
        return genuine(run)

    with monkeypatch.context() as patch:
        patch.setattr(stages_module, 'frozen', killed)
        with pytest.raises(KeyboardInterrupt):
            run_study(study, Results(path))
    first = path.read_text()
    path.write_text(first + '{"row": "cut o')  # as a kill amid a write leaves
    run_study(study, Results(path))
    assert path.read_text().startswith(first)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    keys = [(n['row'], n['seed'], n['stage']) for n in lines]
    assert sorted(keys) == sorted(
        (row, seed, stage)
        for row, seed in (('mae', 0), ('mae', 1), ('oracle', 0))
        for stage in ('pretrain', 'frozen', 'unseen', 'localization', 'step')
        if stage != 'step' or row == 'oracle')
    before = path.read_text()
    run_study(study, Results(path))
    assert path.read_text() == before

    table = render(study, Results(path))
    for measure in ('knn', 'linear', 'knn_unseen', 'pointing'):
        one, two = (n[measure] for n in lines
                    if n['row'] == 'mae' and measure in n)
        oracle, = (n[measure] for n in lines
                   if n['row'] == 'oracle' and measure in n)
        assert all(0 <= v <= 100 for v in (one, two, oracle))
        spread = abs(one - two) / math.sqrt(2)
        assert f'| {(one + two) / 2:.2f} ± {spread:.2f} |' in table
        assert f'| {oracle:.2f} | {oracle - one:+.2f} |' in table
    for line in lines:
        if line['stage'] == 'unseen':
            four = [line[f'{name}{pool}_unseen'] for name in ('knn', 'linear')
                    for pool in ('', '_mean')]
            assert line['primary'] == pytest.approx(sum(four) / 4, abs=1e-3)
    draw(study, Results(path), tmp_path / 'plot.png')
    with Image.open(tmp_path / 'plot.png') as picture:
        assert picture.size[0] > 500


def test_p_of_the_paired_differences():
    base = Figure({0: 10., 1: 12., 2: 11., 3: 13., 7: 99.})
    row = Figure({0: 11., 1: 14., 2: 12., 3: 15., 9: 0.})
    # t = 1.5 / (0.577 / 2) = 5.196 with 3 degrees of freedom
    assert row.p_value(base) == pytest.approx(0.01385, abs=1e-5)
    assert row.minus(base) == '+1.50 ± 0.29'
    assert math.isnan(Figure({0: 1.}).p_value(base))


def test_other_settings_are_measured_anew(make, tmp_path):
    study = make(rows=MAE)
    path = tmp_path / 'results.jsonl'
    run_study(study, Results(path), stages=['pretrain'])
    longer = replace(study, epochs=3)
    run_study(longer, Results(path), stages=['pretrain'])
    assert len(path.read_text().splitlines()) == 2
    # the table shows those of the plan alone
    assert '| mae | 1 | 3 |' in render(longer, Results(path))


def test_fine_tuning(make, pytestconfig, tmp_path):
    arch = dict(_delete_=True, embed_dims=32, num_layers=2, num_heads=2,
                feedforward_channels=64)
    study = make(epochs=1, rows=MAE,
                 evaluation=dict(max_bank=20, k=3, finetune=dict(
                     config=str(pytestconfig.rootpath / 'configs' /
                                'classification/vit-t_finetune_demo.py'),
                     options={
                         'model.backbone.arch': arch,
                         'model.head.in_channels': 32,
                         'model.head.num_classes': 2,
                         'train_cfg.max_epochs': 1,
                         # nothing moves: what is saved is what was loaded
                         'optim_wrapper.optimizer.lr': 0.,
                         'default_hooks.checkpoint.interval': 1,
                         'train_dataloader.batch_size': 4,
                         'train_dataloader.num_workers': 0,
                         'val_dataloader.num_workers': 0,
                         'param_scheduler': []})))
    results = Results(tmp_path / 'results.jsonl')
    run_study(study, results, stages=['pretrain', 'finetune'])
    found = results.lines[-1]
    assert found['stage'] == 'finetune' and 0 <= found['finetune'] <= 100
    assert 'fine-tuned' in render(study, results)
    log = next((tmp_path / 'work').glob('mae_seed0_*/finetune/*/*.log'))
    assert 'encoder loaded from' in log.read_text()
    trained, tuned = (read_state_dict(str(path)) for path in (
        log.parents[2] / 'epoch_1.pth', log.parents[1] / 'epoch_1.pth'))
    shared = [key for key in tuned if key in trained]
    assert len(shared) == 28
    for key in shared:
        assert torch.equal(trained[key], tuned[key]), key


def test_a_plan_based_on_another(make, tmp_path):
    whole = make()
    (tmp_path / 'other').mkdir()
    path = tmp_path / 'other' / 'plan.yaml'
    text = 'base: ../plan.yaml\nepochs: 3\nbaseline: oracle\nrows: [oracle]\n'
    path.write_text(text)
    study = read_study(path, tmp_path / 'work')
    assert study == replace(whole, epochs=3, baseline='oracle', config=(
        study.config), rows={'oracle': whole.rows['oracle']})
    assert study.config.samefile(whole.config)
    path.write_text(text.replace('[oracle]', '[am]'))
    with pytest.raises(ValueError, match="rows must be .*'am'"):
        read_study(path, tmp_path / 'work')
    path.write_text(text + 'epoch: 3\n')
    with pytest.raises(ValueError, match="unknown .'epoch'"):
        read_study(path, tmp_path / 'work')


def test_processes_share_a_study(make, tmp_path):
    study = make(epochs=1)
    taken, free = runs_of(study)
    taken.work_dir.mkdir(parents=True)
    path = tmp_path / 'results.jsonl'
    with FileLock(taken.work_dir / 'lock'):  # as another process has it
        run_study(study, Results(path), stages=['pretrain'])
    early = Results(path)
    assert [line['row'] for line in early.lines] == [free.row.name]
    # each sees what the other has added
    run_study(study, Results(path), stages=['pretrain'])
    assert early.find(row=taken.row.name, seed=0, stage='pretrain',
                      settings=taken.settings)
    assert len(early.lines) == 2


def test_saliency_over_the_training(make, tmp_path):
    study = make(epochs=8, rows=MAE)
    run_study(study, results := Results(tmp_path / 'results.jsonl'),
              stages=['pretrain', 'localization'])
    line = results.lines[-1]
    curve = line['over_training']
    assert list(curve) == ['0', '2', '4', '6', '8']
    assert curve['8'] == line['pointing']


def test_unseen_images_are_neither_trained_on_nor_known(make, tmp_path,
                                                        monkeypatch):
    shown = []
    genuine = Evaluation._encode

    def encode(self, dataset):
        shown.append({dataset.get_data_info(i)['img_path']
                      for i in range(len(dataset))})
        return genuine(self, dataset)

    monkeypatch.setattr(Evaluation, '_encode', encode)
    study = make(epochs=1, rows=MAE)
    stages = ['pretrain', 'unseen']
    run_study(study, results := Results(tmp_path / 'results.jsonl'),
              stages=stages)
    folder = study.folder('train')
    trained = {str(folder / name)
               for name in study.drawn.read_text().splitlines()}
    unseen, bank = shown
    assert len(bank) == 20 and len(trained) == 16
    assert unseen == {*map(str, folder.glob('*/*.png'))} - bank - trained
    assert 'knn_unseen' in results.lines[-1]
    # a bank of all leaves none
    run_study(replace(study, evaluation=dict(max_bank=24, k=3)), results,
              stages=stages)
    assert 'knn_unseen' not in results.lines[-1]


def test_equal_compute(make):
    study = make(epochs=20, rows=dict(
        MAE, throw=dict(mask_generator=dict(
            ordering=dict(type='amt_mm.RandomOrdering'))),
        throw_longer=dict(like='throw', equal_compute=True)))
    macs = {run.row.name: estimate_cost(run.cfg).total_macs
            for run in runs_of(study)}
    assert macs['throw'] < 0.8 * macs['mae']
    assert macs['throw_longer'] == pytest.approx(macs['mae'], rel=.03)


def test_a_loss_that_saliency_weighs(make, tmp_path):
    study = make(epochs=1, rows=dict(
        MAE, pixel_loss=dict(
            mask_generator=dict(RANDOM, with_saliency=True),
            options={'model.head.saliency_weight': 1.},
            saliency=dict(begin=0, source=dict(
                type='amt_mm.PixelSaliency')))))
    plain, weighted = (run.cfg for run in runs_of(study))
    kinds = [[hook.type for hook in cfg.custom_hooks
              if hook.type in ('amt_mm.SaliencyUpdateHook',
                               'amt_mm.MaskStatisticsHook')]
             for cfg in (plain, weighted)]
    assert [len(names) for names in kinds] == [0, 2]
    costs = [estimate_cost(cfg).total_macs for cfg in (plain, weighted)]
    assert costs[0] == costs[1]
    run_study(study, results := Results(tmp_path / 'results.jsonl'),
              stages=['pretrain'])
    assert [line['row'] for line in results.lines] == ['mae', 'pixel_loss']


def test_one_row_alone_is_held_against_the_baseline(make, tmp_path, tool):
    study = make(epochs=1, rows=dict(
        MAE, other=dict(like='mae', equal_compute=True)))
    done = tool('study', tmp_path / 'plan.yaml', '--work-dir',
                study.work_dir, '--only', 'other', '--stages', 'pretrain',
                'step', cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = Results(study.work_dir / 'results.jsonl').lines
    assert {line['row'] for line in lines} == {'other'}
    step, = (line['step'] for line in lines if line['stage'] == 'step')
    assert step > 0
    assert '| other | 1 | 1 |' in (study.work_dir / 'table.md').read_text()


def test_the_images_are_drawn_over_all_classes(make, photos, tmp_path):
    study = make()
    study.draw()
    names = study.drawn.read_text().split()
    assert len({*names}) == 16
    assert {name.split('/')[0] for name in names} == {'left', 'right'}
    assert all((photos / 'train' / name).is_file() for name in names)
    study.draw()
    assert study.drawn.read_text().split() == names


def test_where_data_and_results_lie_is_no_setting(make, photos, tmp_path):
    (tmp_path / 'link').symlink_to(photos)
    one, two = make(), replace(make(str(tmp_path / 'link')),
                               work_dir=tmp_path / 'elsewhere')
    for first, second in zip(runs_of(one), runs_of(two), strict=True):
        assert first.cfg.data_root != second.cfg.data_root
        assert first.settings == second.settings
        second.cfg.default_hooks.logger.interval = 99
        assert first.settings == second.settings
        second.cfg.optim_wrapper.optimizer.lr = 99.
        assert first.settings != second.settings


def test_a_damaged_file_of_results_is_refused(tmp_path):
    path = tmp_path / 'results.jsonl'
    for text in ('[1]\n', 'no JSON\n', '{"row": 1}\n\n'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r'results\.jsonl must hold one'):
            Results(path)


@pytest.mark.parametrize(('changes', 'message'), [
    (dict(rows=dict(mae=dict(mask=1))), "rows.mae .* unknown .'mask'"),
    (dict(rows=dict(mae=dict(like='am'))), "rows.mae.like .*'am'"),
    (dict(baseline='none'), "baseline must be .*'none'"),
    (dict(seeds=[0, 0]), r'seeds must be .*\[0, 0\]'),
    (dict(epochs=0), 'epochs must be .*0'),
    (dict(extra=1), "unknown .'extra'"),
    (dict(data=dict(root='x')), "missing .'test', 'train'"),
    (dict(rows=dict(mae=dict(options=[1]))), r'rows.mae.options .*\[1\]')])
def test_a_plan_that_makes_no_sense_is_refused(make, changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make(**changes)
