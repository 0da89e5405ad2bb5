"""What the pages below docs/ name exists."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from mmengine.config import Config

import amt_mm.registry  # noqa: F401  finds the configs of mmseg

ROOT = Path(__file__).parents[1]
PAGES = {path.name: path.read_text()
         for path in sorted((ROOT / 'docs').glob('*.md'))}


@cache
def config(name: str) -> Config:
    return Config.fromfile(ROOT / name)


def commands(text: str) -> list[list[str]]:
    """Split the shell blocks into commands, and these into words."""
    blocks = re.findall(r'^```bash\n(.*?)^```$', text, re.M | re.S)
    lines = ''.join(blocks).replace('\\\n', ' ').splitlines()
    return [words for line in lines
            if (words := shlex.split(line, comments=True))]


def of_pages(find):
    """Return what a function finds in each page, with the page's name."""
    return sorted((name, found) for name, text in PAGES.items()
                  for found in {*find(text)})


@pytest.mark.parametrize(('page', 'path'), of_pages(
    lambda text: re.findall(r'\b(?:configs|tools|requirements)/[\w./-]+\w',
                            text)))
def test_path_exists(page, path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize(('page', 'link'), of_pages(
    lambda text: re.findall(r'\]\(\s*([^)\s]+)\)', text)))
def test_link_leads_somewhere(page, link):
    if not link.startswith('https://arxiv.org/'):
        assert (ROOT / 'docs' / link.partition('#')[0]).is_file()


@pytest.mark.parametrize('page', PAGES)
def test_commands_take_these_options(page):
    for words in commands(PAGES[page]):
        tool = next((w for w in words if w.startswith('tools/')), None)
        if tool is None:
            continue
        first = words.index(tool)
        name = 'tools/train.py' if tool.endswith('.sh') else tool
        source = (ROOT / name).read_text()
        for word in words[first:]:
            assert not word.startswith('--') or f"'{word}'" in source, words


@pytest.mark.parametrize('page', PAGES)
def test_overridden_keys_exist(page):
    for words in commands(PAGES[page]):
        name = next((w for w in words if w.startswith('configs/')
                     and w.endswith('.py')), None)
        for word in words:
            key, is_option, _ = word.partition('=')
            if not name or not is_option or key.startswith('default_hooks.'):
                continue  # hooks are added by their name
            node = config(name)
            for part in key.split('.'):
                node = node[int(part)] if part.isdigit() else node[part]


def test_the_tests_that_show_fidelity_exist():
    known = {name for path in (ROOT / 'tests').rglob('test_*.py')
             for name in re.findall(r'^def (test_\w+)', path.read_text(),
                                    re.M)}
    named = {*re.findall(r'`(test_\w+)`', PAGES['fidelity.md'])}
    assert len(named) > 20
    assert named <= known, named - known


@pytest.mark.parametrize(('page', 'name'), of_pages(
    lambda text: re.findall(r'amt_mm\.([A-Z]\w+)', text)))
def test_class_exists(page, name):
    source = ''.join(p.read_text() for p in (ROOT / 'amt_mm').rglob('*.py'))
    assert re.search(rf'(class|def) {name}[(:]', source), name
