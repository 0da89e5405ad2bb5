"""Read the text of a config as data; nothing in it is executed."""

from __future__ import annotations

import ast
from typing import Any


class _DictCalls(ast.NodeTransformer):
    """Turn ``dict(a=1)`` into ``{'a': 1}``."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        names = [keyword.arg for keyword in node.keywords]
        is_dict = isinstance(node.func, ast.Name) and node.func.id == 'dict'
        if not is_dict or node.args or None in names:
            return node
        return ast.Dict(
            keys=[ast.Constant(name) for name in names],
            values=[keyword.value for keyword in node.keywords])


def parse_config(text: str) -> dict[str, Any]:
    """Return the literals that a dumped config assigns to its names."""
    try:
        tree = _DictCalls().visit(ast.parse(text))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    config = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0],
                                                       ast.Name):
            try:
                config[node.targets[0].id] = ast.literal_eval(node.value)
            except (ValueError, TypeError, RecursionError, MemoryError):
                continue
    return config


def part(config: Any, *names: str) -> dict[str, Any]:
    """Return a dictionary deep in a config, empty where there is none."""
    for name in names:
        config = config.get(name) if isinstance(config, dict) else None
    return config if isinstance(config, dict) else {}
