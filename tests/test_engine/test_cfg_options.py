"""Overrides of a config from the command line of the tools."""

from __future__ import annotations

import argparse
import ast
import runpy
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger

from amt_mm.engine.cfg_options import TextDictAction, merge_options

TOOLS = Path(__file__).parents[2] / 'tools'
WITH_OPTIONS = [path for path in sorted(TOOLS.glob('*.py'))
                if '--cfg-options' in path.read_text()]
AWKWARD = ('/data/My Photos', '/data/Paris,2023', '2023', '1e3', 'True',
           "l'été", '"quoted"', "'quoted'", '[a]', '(a, b)', 'a]b[', '[x',
           'Фото', 'a=b', ' ', '写真, 1')


def parsed(*pairs):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=TextDictAction)
    return parser.parse_args(['--cfg-options', *pairs]).cfg_options


def merged(cfg, *pairs):
    cfg = Config(cfg)
    merge_options(cfg, parsed(*pairs))
    return cfg


@pytest.mark.parametrize('key', [
    'data_root', 'work_dir', 'load_from', 'a.init_cfg.checkpoint', 'split',
    'hooks.0.images', 'hooks.1.store_dir', 'a.ann_file', 'probe.dataset',
    'checkup.heldout'])
def test_strings_and_paths_are_taken_whole(key):
    """Some of them are strings in the config, others None or missing."""
    for text in AWKWARD:
        node = merged(dict(data_root='data', work_dir=None, split='train',
                           hooks=[dict(images='old'), dict(store_dir=None)],
                           a=dict(init_cfg=dict(checkpoint=''))),
                      f'{key}={text}')
        for part in key.split('.'):
            node = node[int(part) if part.isdecimal() else part]
        assert node == text


@pytest.mark.parametrize(('pair', 'value'), [
    ('size=96', 96), ('size=[96, 64]', [96, 64]), ('size=96,64', [96, 64]),
    ('sizes=96,64', [96, 64]), ('sizes=[(1,2),[a,b]]', [(1, 2), ['a', 'b']]),
    ('names=a,b', ['a', 'b']), ('names=c', 'c'), ('share=.5', .5),
    ('on=False', False), ('new=3', 3), ('new=1,2', [1, 2]),
    ('new=My Photos', 'My Photos'), ('root=None', None),
    ('scale:=512', 512), ('scale=512', '512'), ('new=a]', 'a]'),
    ('num_images=5', 5), ('max_images=6', 6), ('nodata=nan', 'nan'),
    ('nodata=-9999', -9999), ('nodata=alpha', 'alpha'),
])
def test_other_values_are_read_as_mmengine_reads_them(pair, value):
    cfg = merged(dict(size=1, sizes=[1], names=['x'], share=1., on=True,
                      root='data', scale='dynamic'), pair)
    assert cfg[pair.split('=')[0].rstrip(':')] == value


def test_a_key_below_a_string_replaces_it():
    cfg = merged(dict(arch='base'), 'arch.embed_dims=48',
                 'arch._delete_=True')
    assert cfg.arch == dict(embed_dims=48)


def test_what_is_no_pair_is_said(capsys):
    for pair in ('data_root', '=x'):
        with pytest.raises(SystemExit):
            parsed(pair)
        assert 'must be of the form KEY=VALUE, got' in capsys.readouterr().err


@pytest.mark.parametrize('path', WITH_OPTIONS, ids=lambda path: path.stem)
def test_every_tool_takes_them_so(path, monkeypatch, tmp_path):
    checkpoint = tmp_path / 'x.pth'
    checkpoint.touch()
    arguments = dict(
        demo=[], demo_transfer=['cls', '--checkpoint', str(checkpoint)],
        extract=['c.py', 'x', '--images', 'x', '--out', 'x.npz'],
        knn=['c.py', 'x'], print_plan=['c.py'], test=['c.py', 'x'],
        train=['c.py'], visualize=['c.py', 'x', '--images', 'x'],
        localize=['c.py', 'x', '--images', 'x', '--masks', 'x'])
    pairs = [f'{key}={text}' for key, text in enumerate(AWKWARD)]
    monkeypatch.setattr(sys, 'argv', [
        str(path), *arguments[path.stem], '--cfg-options', *pairs])
    args = runpy.run_path(str(path))['parse_args']()
    assert list(args.cfg_options.values()) == list(AWKWARD)
    calls = [ast.unparse(node) for node in ast.walk(ast.parse(
        path.read_text())) if isinstance(node, ast.Call)]
    assert 'merge_options(cfg, args.cfg_options)' in calls
    assert not any('merge_from_dict' in call for call in calls)


# ---- data_root


def test_all_that_is_below_follows():
    cfg = merged(
        dict(data_root='data/set/',
             train_dataloader=dict(dataset=dict(
                 type='ConcatDataset', datasets=[
                     dict(data_root='data/set'), dict(data_root='data/set/b'),
                     dict(data_root='data/settled'), dict(data_root=None),
                     dict(type='RepeatDataset', dataset=dict(
                         data_root='data/set/'))])),
             val_evaluator=[dict(ann_file='data/set/a/b.json'), {}]),
        'data_root=/new one')
    first, second, third, fourth, fifth = cfg.train_dataloader.dataset.datasets
    assert [d.data_root for d in (first, second, third, fourth)] == [
        '/new one', '/new one/b', 'data/settled', None]
    assert fifth == dict(type='RepeatDataset',
                         dataset=dict(data_root='/new one'))
    assert cfg.val_evaluator == [dict(ann_file='/new one/a/b.json'), {}]
    # a wrapper gets none of its own
    cfg = merged(dict(train_dataloader=dict(dataset=dict(
        type='RepeatDataset', times=2, dataset=dict(type='ImageFolder')))),
        'data_root=/new')
    assert cfg.train_dataloader.dataset == dict(
        type='RepeatDataset', times=2,
        dataset=dict(type='ImageFolder', data_root='/new'))


def test_a_root_that_moves_nothing_is_said(capsys):
    MMLogger.get_instance('test_a_root_that_moves_nothing')
    cfg = merged(dict(train_dataloader=dict(dataset=dict(data_root='x'))),
                 'data_root=/new')
    assert cfg.train_dataloader.dataset.data_root == 'x'
    assert ('data_root=/new changes no data set: theirs is x, which is not '
            'below the data_root None of the config.'
            ) in capsys.readouterr().out
