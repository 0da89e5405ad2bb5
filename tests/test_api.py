"""The calls: pre-train, go on, extract, export, and what they refuse."""

from __future__ import annotations

import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from processes import free_port
from safetensors.torch import load_file
from tool_process import run_tool

import amt_mm
from amt_mm.__main__ import main, read_arguments
from amt_mm.engine import fit_size
from amt_mm.engine.cost import peak_learning_rate, step_bytes
from amt_mm.recipe import (
    Settings,
    base_config,
    run_folder_config,
    with_full_paths,
)

ROOT = Path(__file__).parents[1]
TINY = dict(model='vit-tiny', image_size=32, batch_size=4, workers=0)


@pytest.fixture(scope='module')
def photos(demo_data):
    return demo_data / 'val'


@pytest.fixture(scope='module')
def finished(photos, tmp_path_factory):
    """A run of two epochs of two steps."""
    out = tmp_path_factory.mktemp('call') / 'runs' / 'a'
    assert amt_mm.pretrain(out, photos, epochs=2, **TINY) == out
    return out


@pytest.fixture
def run(finished, tmp_path):
    """A copy of that run, at another place."""
    return shutil.copytree(finished, tmp_path / 'run')


def losses(folder):
    lines = (folder / 'metrics.jsonl').read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [(r['step'], r['loss']) for r in records if 'loss' in r]


def call(*words, cwd=None, **environ):
    """Call the command line as ``python -m amt_mm`` does."""
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1',
           **environ}
    return run_tool([str(ROOT / 'amt_mm' / '__main__.py'), *words], env, cwd)


# ---- a run


def test_what_a_run_leaves(finished):
    assert [p.name for p in (finished / 'checkpoints').iterdir()] == [
        'epoch_2.pth']
    assert [step for step, _ in losses(finished)][-1] == 4
    page = (finished / 'report.html').read_text()
    assert page.startswith('<!doctype html>') or '<html' in page[:200]
    assert (finished / 'saliency').is_dir()
    # 8 images are too few to keep one back
    assert Config.fromfile(finished / 'config.py').pretrain.heldout == 0
    assert 'learning: the loss is ' in page
    assert not list(finished.rglob('*.part'))


def test_the_tool_does_the_same_run(finished, tool, tmp_path):
    done = tool('train', finished / 'config.py', '--work-dir',
                tmp_path / 'again')
    assert done.returncode == 0, done.stderr[-2000:]
    assert losses(tmp_path / 'again') == losses(finished)
    assert (tmp_path / 'again/checkpoints/epoch_2.pth').is_file()


def test_a_run_goes_on_also_if_the_report_fails(run):
    shutil.rmtree(run / 'exported')
    (run / 'report.html').unlink()
    (run / 'report.html').mkdir()
    path = sys.path[:]
    before = losses(run)
    with pytest.raises(OSError, match=f'{run} is complete except for '
                       'report.html: .*Is a directory'):
        amt_mm.pretrain(run, resume=True, epochs=3)
    assert sys.path == path
    assert (run / 'exported/model.safetensors').is_file()
    after = losses(run)
    assert after[:len(before)] == before and after[-1][0] == 6
    assert [step for step, _ in after].count(2) == 1
    cfg = Config.fromfile(run / 'config.py')
    assert cfg.pretrain.epochs == 3 and cfg.pretrain.model == 'vit-tiny'
    assert {path.name for path in (run / 'checkpoints').iterdir()} == {
        'epoch_2.pth', 'epoch_3.pth'}


def test_a_folder_in_use_is_refused(run, photos):
    before = sorted(run.rglob('*'))
    with pytest.raises(ValueError, match=f'got {run}, which holds a run: pass '
                       'resume=True'):
        amt_mm.pretrain(run, photos, epochs=2, **TINY)
    with pytest.raises(ValueError, match="model must be that of the run in .*,"
                       " 'vit-tiny', got 'vit-base'"):
        amt_mm.pretrain(run, resume=True, model='vit-base')
    with pytest.raises(ValueError, match="init must be that .*None, got 'hf:a/"
                       "b'"):
        amt_mm.pretrain(run, resume=True, init='hf:a/b')
    assert sorted(run.rglob('*')) == before
    with pytest.raises(ValueError, match='is not empty and holds no run'):
        amt_mm.pretrain(photos, photos, resume=True)


def test_features_of_a_run(finished, photos, tmp_path):
    features, names = amt_mm.extract(
        finished, photos, out=tmp_path / 'new/features.npz', workers=0)
    assert features.shape == (8, 192) and features.dtype == np.float32
    assert len(names) == 8 and (photos / names[0]).is_file()
    with np.load(tmp_path / 'new/features.npz') as file:
        assert np.array_equal(file['features'], features)
        assert file['names'].tolist() == names
    maps, _ = amt_mm.extract(finished / 'checkpoints/epoch_2.pth', photos,
                             pool='map', workers=0)
    assert maps.shape == (8, 192, 2, 2)
    with pytest.raises(ValueError, match=r"pool must be one of \['cls', 'mean'"
                       r", 'map'\], got 'max'"):
        amt_mm.extract(finished, photos, pool='max')


def test_exports_of_a_run(finished, run, tmp_path):
    model = timm.create_model(
        f'local-dir:{finished / "exported"}', pretrained=True).eval()
    state = torch.load(finished / 'checkpoints/epoch_2.pth',
                       weights_only=False)['state_dict']
    assert torch.equal(model.blocks[11].attn.qkv.weight,
                       state['backbone.layers.11.attn.qkv.weight'])
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 192)
    assert model.pretrained_cfg['mean'] == pytest.approx(
        [0.485, 0.456, 0.406], abs=1e-6)
    assert amt_mm.export(run, to='hf') == run / 'exported/epoch_2_hf'
    file = amt_mm.export(run, out=tmp_path / 'x.safetensors')
    model.load_state_dict(load_file(file))
    with pytest.raises(ValueError, match='run must be a checkpoint, or a '
                       'folder of amt_mm.pretrain'):
        amt_mm.export(tmp_path)


def test_to_go_on_from_weights(finished, photos, tmp_path, monkeypatch):
    # the export and the report, which takes longer than the run
    monkeypatch.setattr('amt_mm.api.leave_results', lambda folder: None)
    weights = str(finished / 'checkpoints/epoch_2.pth')
    settings = dict(model='vit-tiny', image_size=32)
    scratch, as_new, given = (
        amt_mm.estimate_cost(epochs=20, **settings, **more) for more in (
            {}, dict(init=weights), dict(init=weights, recipe='continue')))
    assert as_new == scratch
    assert list(given.updates) == list(range(0, 20, 2))
    assert list(scratch.updates) == list(range(2, 20, 2))
    out = amt_mm.pretrain(tmp_path / 'b', photos, init=weights, epochs=1,
                          heldout=2, recipe='continue', **TINY)
    cfg = Config.fromfile(out / 'config.py')
    assert (cfg.pretrain.recipe, cfg.pretrain.heldout) == ('continue', 2)
    log = next(out.glob('2*/*.log')).read_text()
    assert 'Load checkpoint from' in log or 'loaded from' in log
    assert 'saliency updated: epoch 0, 6 images' in log
    assert '(6 and 2 images, ' in log
    saved = torch.load(out / 'checkpoints/epoch_1.pth', weights_only=False)
    groups = saved['optimizer']['param_groups']
    scales = {group['lr_scale'] for group in groups}
    # 12 layers, and what is before and after them
    assert len(scales) == 14 and (min(scales), max(scales)) == (.65**13, 1)
    with pytest.raises(ValueError, match="recipe='continue' needs init"):
        amt_mm.pretrain(tmp_path / 'c', photos, recipe='continue')
    with pytest.raises(ValueError, match='needs init with a decoder, got none'
                       '.*model.safetensors'):
        amt_mm.pretrain(tmp_path / 'c', photos, recipe='continue-whole',
                        init=str(finished / 'exported/model.safetensors'))
    settings = Settings(init=weights, recipe='continue-whole', data=photos)
    assert with_full_paths(settings).init == weights
    whole, decayed = (
        base_config(Settings(init=weights, masking=masking, recipe=recipe))
        for masking, recipe in (('random', 'continue-whole'),
                                ('random', 'continue')))
    assert 'constructor' not in whole.optim_wrapper
    for cfg in whole, decayed:
        cfg.train_dataloader.batch_size = 8
        assert peak_learning_rate(cfg) == (8, 6e-4, 'as in the config')
    decayed.optim_wrapper.pop('constructor')
    decayed.optim_wrapper.paramwise_cfg.pop('layer_decay_rate')
    assert whole.to_dict() == decayed.to_dict()


# ---- the command line


def test_two_processes_and_names_with_spaces_and_commas(
        demo_data, tmp_path):
    folders = [shutil.copytree(path, tmp_path / name) for path, name in zip(
        sorted((demo_data / 'train').iterdir())[:2],
        ['My Photos, 2023', '[more]'], strict=True)]
    port = str(free_port())

    def start(rank):
        return call(
            'pretrain', 'out=runs/b, 1', *(f'data={f}' for f in folders),
            'model=vit-tiny', 'image_size=64', 'epochs=1', 'batch_size=2',
            'workers=0', 'method=simmim', 'masking=random', cwd=tmp_path,
            MASTER_ADDR='127.0.0.1', MASTER_PORT=port, RANK=str(rank),
            LOCAL_RANK=str(rank), WORLD_SIZE='2')

    with ThreadPoolExecutor() as pool:
        first, second = pool.map(start, (0, 1))
    for done in (first, second):
        assert done.returncode == 0, done.stderr[-3000:]
    out = tmp_path / 'runs/b, 1'
    assert Config.fromfile(out / 'config.py').pretrain.data == [
        *map(str, folders)]
    assert first.stdout.count('pretrain in ') == 1
    assert 'pretrain in ' not in second.stdout
    assert 'effective batch size 4,' in first.stdout
    assert ('precision float32: there is no accelerator, and the CPU has no '
            'AMX.') in first.stdout
    assert 'Plan of the run' in first.stdout
    assert first.stdout.splitlines()[-1] == str(out)
    assert (out / 'exported/model.safetensors').is_file()


def test_arguments_are_read_by_their_types():
    settings = read_arguments(amt_mm.pretrain, [
        'out=1', 'epochs=10', 'resume=True', 'init=None', 'data=a, b'])
    assert settings == dict(out='1', epochs=10, resume=True, init=None,
                         data='a, b')
    for pair, message in (
            ('epochs=ten', "epochs must be an integer, got 'ten'"),
            ('resume=yes', "resume must be one of ['True', 'False']"),
            ('--resume', 'arguments must be of the form KEY=VALUE, got '
             "'--resume'")):
        with pytest.raises(ValueError) as caught:
            read_arguments(amt_mm.pretrain, [pair])
        assert message in str(caught.value)
    with pytest.raises(ValueError, match='out must be given once'):
        read_arguments(amt_mm.pretrain, ['out=a', 'out=b'])


def test_the_command_line_says_in_a_sentence(tmp_path):
    done = call('pretrain', f'out={tmp_path / "a"}', 'date=DIR')
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        "amt_mm: pretrain takes no 'date'; did you mean data? It takes out, "
        'data, model,')
    assert not (tmp_path / 'a').exists()


def test_help_and_calls():
    assert 'python -m amt_mm pretrain out=runs/a data=DIR' in main([])
    text = main(['pretrain'])
    assert text.startswith('pretrain(out: ') and 'image_size (int, opt' in text
    with pytest.raises(ValueError, match="the call must be one of .*'train'"):
        main(['train'])
    assert 'Plan of the run' in main(
        ['estimate_cost', 'model=vit-tiny', 'image_size=64'])


# ---- settings


def test_in_the_scope_of_another_project(photos, tmp_path):
    init_default_scope('mmengine')
    cfg, picks = run_folder_config(Settings(data=str(photos)), tmp_path)
    assert cfg.default_scope == 'mmpretrain' and 'epochs' in picks


def test_an_unknown_argument_names_the_nearest():
    for function, settings, near in (
            (amt_mm.pretrain, dict(out='x', batchsize=1), 'batch_size'),
            (amt_mm.estimate_cost, dict(maskin='am'), 'masking'),
            (amt_mm.extract, dict(run='x', data='y', pooling=1), 'pool'),
            (amt_mm.export, dict(run='x', too='hf'), 'to')):
        wrong = [*settings][-1]
        with pytest.raises(TypeError, match=f"takes no '{wrong}'; did you "
                           f'mean {near}'):
            function(**settings)
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        _ = amt_mm.train


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(model='vit-smal'), r"model must be one of \['vit-tiny', 'vit-small'"
     r", 'vit-base', 'vit-large'\], got 'vit-smal'"),
    (dict(masking='throw'), 'masking must be one of'),
    (dict(epochs=0), 'epochs must be an integer >= 1, got 0'),
    (dict(image_size=100), 'image_size must be a multiple of 16 pixels, got '
     '100 by 16'),
    (dict(image_size=48, method='simmim'), 'image_size must be an integer >= '
     '64, got 48'),
    (dict(init='none.pth'), 'init must be a file, .*none.pth.*not exist'),
    (dict(data='nowhere'), 'data must be a folder of images, .*nowhere'),
    (dict(data=None), 'data must be a folder of images, or several, got None'),
])
def test_wrong_settings_are_named(photos, tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        amt_mm.pretrain(tmp_path / 'a', **{'data': photos, **settings})
    assert not (tmp_path / 'a').exists()


@pytest.mark.parametrize(('settings', 'counts'), [
    (dict(model='vit-tiny', method='simmim'), (88, 52, 56)),
    (dict(model='vit-large', method='simmim', masking='am'), (120, 0, 76)),
    (dict(model='vit-base', method='maskfeat'), (54, 59, 83)),
    (dict(model='vit-tiny', method='maskfeat', masking='random'),
     (78, 0, 118)),
    (dict(model='vit-tiny', masking='random-throw'), (88, 78, 30)),
    (dict(model='vit-base', masking='pixel-amt'), (88, 78, 30)),
    (dict(method='simmim', masking='detail-am'), (120, 0, 76)),
    (dict(model='vit-large', masking='am'), (147, 0, 49)),
])
def test_settings_make_a_config(settings, counts):
    plan = amt_mm.estimate_cost(epochs=50, **settings)
    assert tuple(plan.phases[-1].counts) == counts
    masking = settings.get('masking', 'amt')
    assert plan.updates == (
        range(0) if masking.startswith('random') else
        range(0, 1) if masking in ('pixel-amt', 'detail-am') else
        range(*((10, 50, 10) if settings.get('method') == 'simmim' else
                (5, 50, 5))))


def test_the_settings_of_a_preset_are_the_preset():
    for masking in ('amt', 'detail-am'):
        preset = ROOT / f'configs/mae_{masking}_vit-s_custom.py'
        assert amt_mm.estimate_cost(masking=masking) == \
            amt_mm.estimate_cost(preset)


# ---- what is chosen


def test_epochs_follow_from_the_images():
    picks = {n: fit_size.pick_epochs(n) for n in (
        100, 10_000, 25_000, 1_000_000)}
    assert [pick.value for pick in picks.values()] == [800, 500, 200, 100]
    assert picks[10_000].why == (
        '10,000 images are to be seen 5,000,000 times in all')
    assert picks[100].why.endswith('within 100 to 800 epochs')


def test_some_images_are_kept_back():
    picks = [fit_size.pick_heldout(n).value for n in (199, 200, 10**6)]
    assert picks == [0, 10, 256]


def test_batch_size_follows_from_memory_images_and_recipe(monkeypatch):
    cfg = base_config(Settings(model='vit-tiny', image_size=64))
    weights, image = step_bytes(cfg)
    for memory, images, processes, batch in (
            (1e12, 10**6, 1, 256), (1e12, 10**6, 4, 64), (1e12, 1000, 1, 64),
            (1e12, 5, 1, 1), (weights + 40.5 * image, 10**6, 1, 32),
            (0, 10**6, 1, 1)):
        monkeypatch.setattr(fit_size, 'device_memory', lambda m=memory: m)
        pick = fit_size.pick_batch_size(cfg, images, processes)
        assert pick.value == batch, pick


def test_memory_is_above_what_was_measured():
    """Of the step of mmpretrain's MAE, ViT-B, 64 images, as in the docs."""
    text = (ROOT / 'docs/performance.md').read_text()
    line = next(line for line in text.splitlines()
                if line.startswith('| mae_b_amt_45_40_peak'))
    measured = float(line.split('peer megabytes ')[1].split(',')[0]) * 1e6
    weights, image = step_bytes(Config.fromfile(
        ROOT / 'configs/mae_amt_vit-b_400e_in1k.py'))
    assert 1 < (weights + 64 * image) / measured < 1.4
