"""A bar on a terminal, and none elsewhere."""

from __future__ import annotations

import io
import os
import pty
import sys
import time

import pytest

from amt_mm.progress import progress


def go_through_items(monkeypatch, stderr):
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setattr(sys, 'stderr', stderr)
    items = progress(range(4), 'saliency maps')
    assert [time.sleep(.2) or n for n in items] == [0, 1, 2, 3]
    assert [*progress(iter('ab'), 'other things', 2)] == ['a', 'b']
    monkeypatch.undo()
    stderr.flush()


@pytest.mark.parametrize('quiet', ['0', '1'])
def test_a_terminal_shows_a_bar_unless_quiet(monkeypatch, quiet):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, 'w') as terminal:
        monkeypatch.setenv('AMT_MM_QUIET', quiet)
        go_through_items(monkeypatch, terminal)
        os.set_blocking(ours, False)
        try:
            text = os.read(ours, 65536).decode()
        except BlockingIOError:  # there is nothing
            text = ''
    os.close(ours)
    assert (text == '') == (quiet == '1')
    for words in ('saliency maps', '100%', 'other things'):
        assert (words in text) == (quiet == '0')


def test_a_log_has_no_bar(monkeypatch):
    log = io.StringIO()
    go_through_items(monkeypatch, log)
    assert not log.getvalue()
