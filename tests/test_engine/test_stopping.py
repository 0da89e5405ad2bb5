"""What a run says and leaves where it is stopped from outside."""

from __future__ import annotations

import os
import signal
from contextlib import nullcontext

import pytest
from torch import distributed

from amt_mm.engine.launch import graceful_shutdown


@pytest.mark.parametrize('signum', [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize('becomes', [None, RuntimeError])
def test_a_signal_ends_with_its_status(tmp_path, signum, becomes):
    """Also where a library makes an error of its own of it."""
    before = signal.getsignal(signum)
    with pytest.raises(SystemExit) as stopped:
        with graceful_shutdown(str(tmp_path)):
            try:
                os.kill(os.getpid(), signum)
            finally:
                if becomes:
                    raise becomes('unexpected position')
    assert stopped.value.code == 128 + signum
    assert signal.getsignal(signum) is before


@pytest.mark.parametrize('error', [None, RuntimeError, SystemExit])
def test_the_group_is_left_at_the_end_alone(tmp_path, error):
    """After an error the others may be amid a collective."""
    store = distributed.FileStore(str(tmp_path / 'store'), 1)
    distributed.init_process_group('gloo', store=store, rank=0, world_size=1)
    stops = pytest.raises(error) if error else nullcontext()
    with stops, graceful_shutdown(str(tmp_path)):
        if error:
            raise error('unexpected')
    assert distributed.is_initialized() == bool(error)
    if error:
        distributed.destroy_process_group()
