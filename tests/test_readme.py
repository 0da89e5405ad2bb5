"""What README.md and docs/ say to type exists; what is short, works."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from mmengine.config import Config

from amt_mm.engine import estimate_cost

ROOT = Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()
# but for what is generated, and tested where that is done
PAGES = {
    path: path.read_text()
    for path in (ROOT / 'README.md', ROOT / 'CONTRIBUTING.md',
                 *sorted((ROOT / 'docs').glob('*.md')))
    if path.name != 'performance.md'
}
TEXT = '\n'.join(PAGES.values())
BLOCKS = re.findall(r'^ *```(\w+)\n(.*?)^ *```$', TEXT, re.M | re.S)
# parts of a config that it has not, and that an option brings
NEW = ('probe', 'layout', 'ordering', 'begin')


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


def commands() -> list[list[str]]:
    """Split the shell blocks into commands, and these into words."""
    lines = ''.join(blocks('bash')).replace('\\\n', ' ').splitlines()
    return [shlex.split(line) for line in lines if line.strip()]


@cache
def config(name: str) -> Config:
    return Config.fromfile(ROOT / name)


COMMANDS = commands()
WITH_CONFIG = [
    (next(word for word in words if word.startswith('configs/')), words)
    for words in COMMANDS if any(w.startswith('configs/') for w in words)
]


def test_there_is_something_to_check():
    assert len(COMMANDS) >= 40 and len(WITH_CONFIG) >= 15
    assert len(five_changes()) == 1 and len(blocks('text')) == 1
    assert len(README.splitlines()) < 80


def five_changes():
    """Return the config that builds on mmpretrain's MAE."""
    return [t for t in blocks('python') if "'mmpretrain::mae" in t]


def test_paths_exist():
    for path in re.findall(
            r'(?<![\w./-])(?:configs|tools|requirements)/[\w./-]+\w', TEXT):
        assert (ROOT / path).exists(), path


def test_links_lead_somewhere_and_pictures_are_small():
    for page, text in PAGES.items():
        for link in re.findall(r'\]\(\s*([^)#]+)\)', text):
            if not link.startswith('https://'):
                assert (page.parent / link).is_file(), (page, link)
    for path in (ROOT / 'docs' / 'images').iterdir():
        assert path.stat().st_size < 300_000, path


def test_tests_named_exist():
    for name, case in re.findall(r'`(test_[\w/]+\.py)(?:::(\w+))?`', TEXT):
        path = next((ROOT / 'tests').rglob(name), ROOT / 'tests' / name)
        assert f'def {case}' in path.read_text(), f'{name}::{case}'
    known = {case for path in (ROOT / 'tests').rglob('test_*.py')
             for case in re.findall(r'def (test_\w+)', path.read_text())}
    alone = {*re.findall(r'`(test_\w+)`', TEXT)}
    assert len(alone) >= 3 and alone <= known, alone - known


def test_make_targets_exist():
    targets = {*re.findall(r'(?:^|`)make ([\w-]+)', TEXT, re.M)}
    assert targets == {
        'bench', 'clean', 'demo', 'demo-cls', 'demo-det', 'demo-seg', 'docs',
        'lint', 'test', 'test-original', 'torture'}
    makefile = (ROOT / 'Makefile').read_text()
    rules = ' '.join(re.findall(r'^([\w -]+):', makefile, re.M))
    assert targets <= {*rules.split()}


def test_options_of_the_tools_exist():
    for words in COMMANDS:
        first = tool = next((w for w in words if w.startswith('tools/')), '')
        if not tool:
            continue
        if tool.endswith('.sh'):  # which pass them on
            tool = 'tools/train.py'
        source = (ROOT / tool).read_text()
        for word in words[words.index(first):]:
            assert not word.startswith('--') or f"'{word}'" in source, word


def test_overridden_keys_exist():
    for name, words in WITH_CONFIG:
        for word in words:
            key, is_option, _ = word.partition('=')
            if not is_option or word[0].isupper():
                continue  # the latter are variables of the environment
            node = config(name)
            for part in key.split('.'):
                if part in NEW:  # the tests of the pages run these
                    break
                node = node[int(part)] if part.isdigit() else node[part]
        if any(word.startswith('custom_hooks.1.') for word in words):
            hook = config(name).custom_hooks[1]
            assert hook.type == 'amt_mm.SaliencyUpdateHook'


def test_config_of_the_reader_builds(tmp_path):
    """The five changes alone: counts, updates and cost of the plan."""
    path = tmp_path / 'mine.py'
    path.write_text(five_changes()[0])
    plan = estimate_cost(Config.fromfile(path))
    assert [tuple(phase.counts) for phase in plan.phases] == [(147, 0, 49),
                                                              (88, 78, 30)]
    assert plan.updates == range(30, 300, 30)
    assert plan.cost == pytest.approx(0.659, abs=2e-3)


def test_printed_plan_is_the_real_one():
    plan = estimate_cost(config('configs/mae_amt_vit-b_400e_in1k.py'), 8)
    assert blocks('text')[0].strip() == str(plan)


def test_classes_named_exist():
    source = ''.join(p.read_text() for p in (ROOT / 'amt_mm').rglob('*.py'))
    source += ''.join(blocks('python'))
    names = {*re.findall(r'amt_mm\.([A-Z]\w+)', TEXT)}
    assert 'AMTMAE' in names
    for name in names:
        assert re.search(rf'(class|def) {name}[(:]', source) or name == 'X', \
            name
