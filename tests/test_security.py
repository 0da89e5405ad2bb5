"""Nothing of ours unpickles, evaluates, or starts a shell."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ('amt_mm', 'tools', 'setup_env', 'configs', 'docs')
FILES = sorted(
    path for folder in FOLDERS for path in (ROOT / folder).rglob('*.py'))

MODULES = {'pickle', 'cPickle', '_pickle', 'dill', 'cloudpickle', 'marshal',
           'shelve', 'joblib', 'code', 'codeop', 'yaml', 'pandas'}
# of those, names that do nothing
HARMLESS = {('pickle', 'UnpicklingError'), ('yaml', 'safe_load')}
BUILTINS = {'eval', 'exec', 'compile', '__import__', 'breakpoint', 'input'}
CALLS = {'os.system', 'os.popen', 'subprocess.getoutput',
         'subprocess.getstatusoutput', 'fileio.load', 'mmengine.load',
         'torch.hub.load', 'torch.jit.load', 'tempfile.mktemp',
         'importlib.import_module', 'runpy.run_path', 'runpy.run_module'}
# a call by the end of its name: what it must say
NEEDED = {
    'torch.load': dict(weights_only=True), 'np.load': dict(allow_pickle=False),
    'numpy.load': dict(allow_pickle=False), 'np.save': dict(
        allow_pickle=False), 'extractall': dict(filter='data'),
    'extract': dict(filter='data'), 'unpack_archive': dict(filter='data'),
}
# what a call may not say
FORBIDDEN = {'shell': True, 'allow_pickle': True, 'weights_only': False}


def name_of(node: ast.expr) -> str:
    """Return ``a.b.c`` of a name or attribute, ``?.c`` of another."""
    if isinstance(node, ast.Attribute):
        return f'{name_of(node.value)}.{node.attr}'
    return node.id if isinstance(node, ast.Name) else '?'


def imports(node: ast.AST) -> list[tuple[str, str]]:
    """Return the modules that a statement imports, and what from them."""
    if isinstance(node, ast.Import):
        return [(alias.name.split('.')[0], '') for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [((node.module or '').split('.')[0], alias.name)
                for alias in node.names]
    return []


def problems_of(tree: ast.AST) -> list[str]:
    """Say what code should not do."""
    found = []
    for node in ast.walk(tree):
        for module, name in imports(node):
            if module in MODULES and (module, name) not in HARMLESS:
                found.append(f'imports {module}')
        if isinstance(node, ast.Attribute) and node.attr.startswith(
                'allow_pickle'):
            found.append(node.attr)
        if isinstance(node, ast.Call):
            found += problems_of_call(node)
    return found


def problems_of_call(node: ast.Call) -> list[str]:
    """Say what a call should not do, or should say."""
    name = name_of(node.func)
    said = {k.arg: getattr(k.value, 'value', '?') for k in node.keywords}
    found = [name] if name in BUILTINS or name in CALLS else []
    found += [f'{name}({key}={value})' for key, value in FORBIDDEN.items()
              if key in said and said[key] != (not value)]
    if name.startswith('safetensors.'):
        return found
    for end, needed in NEEDED.items():
        if f'.{name}'.endswith(f'.{end}') and any(
                said.get(key, '?') != value for key, value in needed.items()):
            found.append(f'{name} without {needed}')
    return found


@pytest.mark.parametrize('path', FILES,
                         ids=lambda path: str(path.relative_to(ROOT)))
def test_code_executes_no_data(path):
    assert problems_of(ast.parse(path.read_text())) == []


@pytest.mark.parametrize('code', [
    'import pickle', 'from pickle import loads', 'import dill as d',
    'import yaml', 'eval("1")', 'exec(text)', '__import__("os")',
    'os.system("ls")', 'subprocess.run("ls", shell=True)',
    'subprocess.run("ls", shell=flag)', 'torch.load(path)',
    'torch.load(path, weights_only=False)',
    'torch.load(path, weights_only=not safe)', 'np.load(path)',
    'np.load(path, allow_pickle=True)', 'tar.extractall(root)',
    'tarfile.open(path).extractall(root)',
    'tar.extractall(root, filter="fully_trusted")', 'torch.hub.load(repo)',
    'mmengine.load(path)', 'f(weights_only=False)',
])
def test_the_test_sees(code):
    assert problems_of(ast.parse(code))


@pytest.mark.parametrize('code', [
    'from pickle import UnpicklingError', 'model.eval()',
    'torch.load(path, weights_only=True)', 're.compile(pattern)',
    'np.load(path, allow_pickle=False)', 'ast.literal_eval(text)',
    'tar.extractall(root, filter="data")', 'json.loads(text)',
    'subprocess.run(["ls"])', 'safetensors.torch.load(data)',
])
def test_the_test_lets_through(code):
    assert not problems_of(ast.parse(code))
