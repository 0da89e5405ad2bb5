"""Write configs/README.md, the table of all configs, from the files.

    python tools/list_configs.py
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config

from amt_mm.engine import estimate_cost

CONFIGS = Path(__file__).parents[1] / 'configs'
HEAD = """# Configs

Made by `python tools/list_configs.py` from the files; a test compares. A name
is `{method}_{strategy}_{backbone}_{schedule}_{data}`. Tokens are those of one
image after the warm-up. Cost is the multiply-accumulates of the whole run over
those of the same method that throws nothing and predicts all that it masks, at
the warm-up ratios. The last column is the paper's, not ours: this project has
not run these.

"""
COLUMNS = """\
| config | what | masked / thrown / visible | cost | the paper reports |
|---|---|---|---|---|
"""


def tokens_and_cost(path: Path) -> tuple[str, str]:
    """Return what the table says of both."""
    plan = estimate_cost(Config.fromfile(path))
    training = plan.phases[1]
    counts = ' / '.join(map(str, training.counts))
    if unpredicted := training.unpredicted[0]:
        predicted = training.counts.masked - unpredicted
        counts = counts.replace(' /', f' ({predicted} predicted) /', 1)
    return counts, f'{plan.cost:.3f}'


def row(path: Path, counts: str, cost: str) -> str:
    """Describe a config in one line of the table."""
    doc = ast.get_docstring(ast.parse(path.read_text())) or ''
    text = ' '.join(doc.split())
    reported = re.search(r'[Tt]he paper reports (.*?)[;.] ?(?!\d)', text)
    return (f'| [{path.stem}]({path.name}) | {title(path)} | {counts} | '
            f'{cost} | {reported.group(1) if reported else ""} |')


TASKS = """
## With a pre-trained encoder

These start from `model.backbone.init_cfg.checkpoint=FILE`: see
[docs/transfer.md](../docs/transfer.md). The paper's results are in the files.

| config | what |
|---|---|
"""


def title(path: Path) -> str:
    """Return the first line of a config's docstring."""
    doc = ast.get_docstring(ast.parse(path.read_text())) or ''
    return doc.split('\n')[0].rstrip('.')


def table(numbers: Callable[[Path], tuple[str, str]] = tokens_and_cost) -> str:
    """Return the whole page, with what a function returns of each config."""
    groups: dict[str, list[str]] = {}
    for path in sorted(CONFIGS.glob('*.py')):
        tables = re.findall(r'Table \d', path.read_text())
        name = f"The paper's {min(tables)}" if tables else 'Not in the paper'
        groups.setdefault(name, []).append(row(path, *numbers(path)))
    tasks = [
        f'| [{path.stem}]({path.relative_to(CONFIGS)}) | {title(path)} |\n'
        for path in sorted(CONFIGS.glob('*/*.py'))
        if path.parent.name != '_base_'
    ]
    return HEAD + '\n'.join(
        f'## {name}\n\n{COLUMNS}' + '\n'.join(groups[name]) + '\n'
        for name in sorted(groups, key=lambda t: (t[0] != 'T', t))
    ) + TASKS + ''.join(tasks)


if __name__ == '__main__':
    (CONFIGS / 'README.md').write_text(table())
