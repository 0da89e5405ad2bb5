"""Imports flow one way: masking, saliency -> datasets, models -> engine."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'amt_mm'

# what each part may import of the others
ALLOWED = {
    'masking': set(),
    'saliency': set(),
    'weights': set(),
    'datasets': {'masking', 'saliency'},
    'models': {'masking', 'saliency'},
    'evaluation': {'masking', 'saliency', 'datasets'},
    'visualization': {'masking', 'saliency'},
    'engine': {
        'masking', 'saliency', 'datasets', 'models', 'weights', 'evaluation',
        'visualization'},
}
EVERYWHERE = {
    'arguments', 'atomic_write', 'compatibility', 'families', 'progress',
    'registry'}


def imported_parts(path: Path) -> set[str]:
    """Return the parts of the package that a file imports, absolutely."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or '']
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        parts |= {n.split('.')[1] for n in names if n.startswith('amt_mm.')}
    return parts


@pytest.mark.parametrize('part', ALLOWED)
def test_a_part_imports_only_what_is_below(part):
    files = sorted((PACKAGE / part).rglob('*.py'))
    assert files
    for path in files:
        wrong = imported_parts(path) - ALLOWED[part] - EVERYWHERE - {part}
        assert not wrong, f'{path} imports {wrong}'


def test_the_package_imports_no_project():
    for path in PACKAGE.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [getattr(node, 'module', None) or ''] + [
                alias.name for alias in getattr(node, 'names', [])
                if isinstance(node, ast.Import)]
            assert not [n for n in names if n.split('.')[0] == 'projects'], (
                path)


def test_every_part_is_named_here():
    parts = {p.parent.name for p in PACKAGE.glob('*/__init__.py')}
    assert parts == set(ALLOWED)


def test_no_relative_import_leaves_its_part():
    for path in PACKAGE.rglob('*.py'):
        depth = len(path.relative_to(PACKAGE).parts) - 1
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and depth:
                assert node.level <= depth, f'{path}: {ast.unparse(node)}'


def test_files_stay_small():
    """A file over 400 lines hides a concept that wants its own."""
    long = {
        str(path.relative_to(PACKAGE)): lines
        for path in PACKAGE.rglob('*.py')
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert not long


def test_functions_stay_small():
    for path in PACKAGE.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                length = node.end_lineno - node.body[0].lineno + 1
                assert length <= 45, f'{path}: {node.name} has {length} lines'
