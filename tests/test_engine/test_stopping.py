"""What a run says and leaves where it is stopped from outside."""

from __future__ import annotations

import os
import signal

import pytest

from amt_mm.engine.stopping import stopping_in_order


@pytest.mark.parametrize('signum', [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize('becomes', [None, RuntimeError])
def test_a_signal_ends_with_its_status(tmp_path, signum, becomes):
    """Also where a library makes an error of its own of it."""
    before = signal.getsignal(signum)
    with pytest.raises(SystemExit) as stopped:
        with stopping_in_order(str(tmp_path)):
            try:
                os.kill(os.getpid(), signum)
            finally:
                if becomes:
                    raise becomes('unexpected position')
    assert stopped.value.code == 128 + signum
    assert signal.getsignal(signum) is before


def test_other_errors_pass(tmp_path):
    with pytest.raises(RuntimeError, match='unexpected'):
        with stopping_in_order(str(tmp_path)):
            raise RuntimeError('unexpected')
