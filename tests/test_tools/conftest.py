"""Call a tool in the process of a test: one of its own takes seconds."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from functools import cache
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from mmengine.logging import MMLogger

TOOLS = Path(__file__).parents[2] / 'tools'


@cache
def load(name):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def call(monkeypatch, capsys):
    """Return a function that calls a tool and returns what a process would."""
    logger = MMLogger.get_current_instance()
    level = logger.level

    def run(name, *args):
        monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, args)])
        code, error = 0, ''
        try:
            load(name).main()
        except SystemExit as stop:
            code = 1
            error = f'{stop.code}\n' if isinstance(stop.code, str) else ''
        except Exception:
            code, error = 1, traceback.format_exc()
        out, err = capsys.readouterr()
        return CompletedProcess(args, code, out, err + error)

    yield run
    logger.setLevel(level)
