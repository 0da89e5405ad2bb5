"""A pipeline that says which of its steps failed, and with what arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS

from amt_mm.arguments import check_config, error_context


class Steps(Compose):
    """The steps of a pipeline, in order.

    A step of ours names the argument that is wrong. Other libraries' fail in
    ways of their own: their error becomes a ValueError that shows the step.

    Args:
        pipeline (list[dict | callable]): The steps or their configs.
    """

    def __init__(self, pipeline: list) -> None:
        if not isinstance(pipeline, (list, tuple)):
            raise TypeError('pipeline must be a list of dicts, got '
                            f'{pipeline!r}.')
        super().__init__([_build(f'pipeline.{i}', cfg)
                          for i, cfg in enumerate(pipeline)])

    def __call__(self, data: dict | None) -> dict | None:
        """Apply the steps; None where one of them gives up."""
        for step in self.transforms:
            with _telling(step):
                data = step(data)
            if data is None:
                return None
        return data


@contextmanager
def _telling(step: Callable) -> Iterator[None]:
    """Name the step that fails, where its error does not name it."""
    if not type(step).__module__.startswith('amt_mm.'):
        with error_context('the pipeline failed at', step):
            yield
        return
    try:
        yield
    except KeyError as error:
        if not str(error.args[0]).isidentifier():  # but a message
            raise
        raise KeyError(f'{type(step).__name__} needs {error}, which no step '
                       'before it in the pipeline left.') from error


def _build(name: str, cfg: Any) -> Callable:
    """Build a step from its config, or take it as it is."""
    if callable(cfg):
        return cfg
    check_config(name, cfg)
    with error_context(f'cannot build {name}{_arguments(cfg["type"])} from',
                       cfg):
        return TRANSFORMS.build(cfg)


def _arguments(kind: Any) -> str:
    """List the arguments of a step, which may be what a config lacks."""
    cls = TRANSFORMS.get(kind) if isinstance(kind, str) and kind else kind
    if not isinstance(cls, type):
        return ''
    return f' of {", ".join(inspect.signature(cls).parameters)}'
