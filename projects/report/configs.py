"""Configs side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

# names of the run itself, and what other keys of a config repeat
LEFT_OUT = ('work_dir', 'experiment_name', 'train_pipeline', 'val_pipeline',
            'test_pipeline')


def config_differences(
        configs: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Return what differs, by key, with the value in each config.

    Keys are those of ``--cfg-options``, such as ``custom_hooks.1.interval``;
    a key that a config lacks has an empty value there.
    """
    flat = [dict(_flatten(config)) for config in configs]
    keys = dict.fromkeys(key for config in flat for key in config)
    rows = {key: [config.get(key, '') for config in flat] for key in keys}
    return {key: row for key, row in sorted(rows.items())
            if len(set(row)) > 1 and key.split('.')[0] not in LEFT_OUT}


def _flatten(node: Any, prefix: str = '') -> Iterator[tuple[str, str]]:
    """Yield (key, value as text) of every leaf."""
    if not isinstance(node, (dict, list, tuple)) or not node:
        yield prefix, repr(node)
        return
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        yield from _flatten(value, f'{prefix}.{key}' if prefix else str(key))
