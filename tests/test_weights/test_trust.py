"""Checkpoints of strangers do nothing; those of real runs load."""
from __future__ import annotations

import builtins
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import CheckpointLoader, checkpoint
from torch import nn, serialization

from amt_mm.weights import (
    check_checkpoint,
    read_checkpoint,
    read_state_dict,
    weights_only_loading,
)


class Calls:
    """Unpickled, this calls a function."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


def load(path):
    """Load a checkpoint as mmengine does."""
    return CheckpointLoader.load_checkpoint(str(path), map_location='cpu')


@pytest.fixture
def pwned(tmp_path):
    """Return a file that no test may bring about."""
    path = tmp_path / 'pwned'
    yield path
    assert not path.exists()


def hostile(pwned):
    touch = f'touch {pwned}'
    buffer = HistoryBuffer([1.], [1])
    buffer.method = Calls(getattr, getattr, '__self__')
    return {
        'system': Calls(os.system, touch),
        'exec': Calls(builtins.exec, f'open({str(pwned)!r}, "w")'),
        'eval': Calls(builtins.eval, f'open({str(pwned)!r}, "w")'),
        'function of torch': Calls(torch.load, str(pwned)),
        'builtins by getattr': Calls(getattr, getattr, '__self__'),
        'getattr in a log': buffer,
    }


@pytest.mark.parametrize('old_format', [False, True])
@pytest.mark.parametrize('name', hostile(Path('x')))
def test_code_is_refused(tmp_path, pwned, name, old_format):
    path = tmp_path / 'evil.pth'
    content = dict(state_dict=dict(a=torch.ones(2)), meta={},
                   message_hub=dict(x=hostile(pwned)[name]))
    torch.save(content, path, _use_new_zipfile_serialization=not old_format)
    with pytest.raises(ValueError, match=(
            rf'the checkpoint {path} is not trusted: it holds the pickled '
            r'code \w+[.\w]*, .* take --trust-checkpoint')):
        check_checkpoint(str(path))
    with pytest.raises(ValueError, match='not trusted'), \
            weights_only_loading(str(path)):
        raise AssertionError('not reached')
    with pytest.raises(ValueError, match='cannot read .* pickled code'):
        read_state_dict(str(path))


# mmengine's own list has getattr; torch calls nothing that this returns
@pytest.mark.parametrize('name', [
    name for name in hostile(Path('x')) if 'getattr' not in name
    or not hasattr(checkpoint, 'get_torch_safe_globals')])
def test_what_is_loaded_later_is_not_executed(tmp_path, pwned, name):
    """As by an init_cfg, or where a file was changed in between."""
    path = tmp_path / 'evil.pth'
    torch.save(dict(x=hostile(pwned)[name]), path)
    with pytest.raises(ValueError, match=(
            r'a checkpoint of this run is not trusted: it holds the pickled '
            r'code [.\w]+, ')), weights_only_loading():
        load(path)
    with pytest.raises(ValueError, match='not trusted'), \
            weights_only_loading():
        torch.load(path, weights_only=False)  # as torch.hub does


def test_bare_pickles_and_shards(tmp_path, pwned):
    torch.save(dict(a=torch.ones(1)), tmp_path / 'rank0.pth')
    check_checkpoint(str(tmp_path))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path = tmp_path / 'rank1.pth'
        path.write_bytes(pickle.dumps(hostile(pwned)['system'], protocol))
        for name in (path, tmp_path):  # a folder is a sharded checkpoint
            with pytest.raises(ValueError, match='rank1.pth is not trusted'):
                check_checkpoint(str(name))


def test_trusted_files_are_left_to_mmengine(tmp_path):
    path = tmp_path / 'mine.pth'
    torch.save(dict(x=Calls(os.path.join, 'a', 'b')), path)
    with pytest.raises(ValueError, match='posixpath.join'):
        check_checkpoint(str(path))
    with weights_only_loading(str(path), trusted=True):
        assert load(path) == dict(x='a/b')


def test_missing_and_damaged_files_are_left_to_who_loads_them(tmp_path):
    check_checkpoint(str(tmp_path / 'none.pth'))
    (tmp_path / 'text.pth').write_text('no checkpoint')
    with pytest.raises(ValueError, match='text.pth is not trusted: '):
        check_checkpoint(str(tmp_path / 'text.pth'))  # mmengine would try it
    torch.save(dict(a=torch.ones(100)), tmp_path / 'cut.pth')
    content = (tmp_path / 'cut.pth').read_bytes()
    for length in range(0, len(content), 97):
        (tmp_path / 'cut.pth').write_bytes(content[:length])
        check_checkpoint(str(tmp_path / 'cut.pth'))


def test_the_switch_is_put_back(monkeypatch):
    def allowed():
        """Return what torch takes now, and before 2.6 by which module."""
        known = getattr(serialization, 'get_safe_globals', list)()
        return set(known), serialization._weights_only_unpickler

    name, before = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD', allowed()
    monkeypatch.delenv(name, raising=False)
    with weights_only_loading():
        assert os.environ[name] == '1'
    assert name not in os.environ
    monkeypatch.setenv(name, '0')
    with pytest.raises(KeyError), weights_only_loading():
        raise KeyError
    assert os.environ[name] == '0'
    assert allowed() == before


def test_no_tensor_is_loaded(tmp_path):
    whole, path = tmp_path / 'whole.pth', tmp_path / 'without_numbers.pth'
    torch.save({'a': torch.zeros(100, 100)}, whole)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, 'w') as new:
        for name in old.namelist():
            new.writestr(name, b'' if '/data/' in name else old.read(name))
    check_checkpoint(str(path))
    with pytest.raises((RuntimeError, pickle.UnpicklingError)):
        torch.load(path, weights_only=True)


# ---- what real runs write

SCHEDULERS = {
    'MultiStepLR': dict(milestones=[1]), 'StepLR': dict(step_size=1),
    'ExponentialLR': dict(gamma=0.9), 'LinearLR': {}, 'ConstantLR': {},
    'CosineAnnealingLR': dict(T_max=4), 'PolyLR': {},
    'OneCycleLR': dict(eta_max=1, total_steps=10),
    'CosineRestartLR': dict(periods=[4], restart_weights=[1], eta_min=0),
    'ReduceOnPlateauLR': dict(monitor='loss'),
}


@pytest.mark.parametrize('name', SCHEDULERS)
def test_schedulers_of_mmengine_pass(tmp_path, name):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    scheduler = PARAM_SCHEDULERS.get(name)(optimizer, **SCHEDULERS[name])
    state = dict(state_dict=model.state_dict(),
                 optimizer=optimizer.state_dict(),
                 param_schedulers=[scheduler.state_dict()])
    path = tmp_path / 'run.pth'
    torch.save(state, path)
    with weights_only_loading(str(path)):
        loaded = load(path)['param_schedulers']
    # methods compare equal where they are the same
    assert loaded == [scheduler.state_dict()]


def test_the_log_of_a_run_is_loaded(tmp_path):
    """While read_checkpoint, beside it, still takes no log."""
    path = tmp_path / 'run.pth'
    torch.save(dict(log=HistoryBuffer([1., 2.], [1, 1]), a=torch.ones(1)),
               path)
    with weights_only_loading(str(path)):
        assert load(path)['log'].mean() == 1.5
        assert not isinstance(read_checkpoint(str(path))['log'],
                              HistoryBuffer)
        assert load(path)['log'].statistics('max') == 2
