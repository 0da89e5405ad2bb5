"""Overrides of a config from the command line."""

from __future__ import annotations

import re
from argparse import ArgumentError, ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config, DictAction

from .fit_config import move_data_root

# keys that name a file or folder, also where the config leaves them out; a
# number of images is none
PATH_KEYS = re.compile(
    r'(^|\.|_)(?<!num_)(?<!max_)(root|dir|folder|file|path|prefix|checkpoint'
    r'|load_from|dataset|images|masks|boxes|heldout)$')


class TextDictAction(DictAction):
    """Take ``KEY=VALUE`` pairs and keep each value as it was written.

    mmengine's ``DictAction`` reads a value before it knows what the key holds;
    here :func:`merge_options` reads it, once the config is there.
    """

    def __call__(self, parser: ArgumentParser, namespace: Namespace,
                 values: Any, option_string: str | None = None) -> None:
        """Add the pairs to those given before."""
        options = dict(getattr(namespace, self.dest, None) or {})
        for pair in values:
            key, equals, value = pair.partition('=')
            if not (key and equals):
                raise ArgumentError(
                    self, f'must be of the form KEY=VALUE, got {pair!r}')
            options[key] = value
        setattr(namespace, self.dest, options)


def merge_options(cfg: Config, options: Mapping[str, str] | None) -> None:
    """Override keys of a config by what :class:`TextDictAction` took.

    A value is taken whole where the config has a string, or none under the
    name of a file or folder. Others, and ``KEY:=VALUE``, are read as mmengine
    does. With ``data_root`` the data sets move along.
    """
    old_root = cfg.get('data_root')
    cfg.merge_from_dict({
        key.removesuffix(':'): read_value(cfg, key, text)
        for key, text in (options or {}).items()})
    if cfg.get('data_root') != old_root:
        move_data_root(cfg, old_root)


def read_value(cfg: Config, key: str, text: str) -> Any:
    """Turn the text of an option into the value that its key asks for."""
    present = None if key.endswith(':') else _look_up(cfg, key)
    if isinstance(present, str) or (
            present is None and PATH_KEYS.search(key)):
        return None if text == 'None' else text
    # mmengine asserts of a list that each bracket is closed
    is_closed = all(text.count(a) == text.count(b) for a, b in ('()', '[]'))
    if not isinstance(present, (list, tuple)) and not is_closed:
        return text
    value = DictAction._parse_iterable(text)
    # a config that is written down could not be read again with a bare nan
    return text if isinstance(value, str) or value != value else value


def _look_up(cfg: Config, key: str) -> Any:
    """Return what a config holds under a dotted key, or None."""
    node: Any = cfg
    for part in key.split('.'):
        if isinstance(node, (list, tuple)) and part.isdecimal() and \
                int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, (Config, dict)):
            node = node.get(part)
        else:
            return None
    return node
