"""Write a report: one file that needs no other and no network."""

from __future__ import annotations

import base64
import gzip
import os
import secrets
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from plotly.io.json import to_json_plotly
from plotly.offline import get_plotlyjs

from .configs import config_differences
from .cost import plan_of
from .figures import duration, figures
from .pictures import image_series
from .run_folder import Run, read_run
from .sections import Source, sections

PAGE = Path(__file__).parent / 'page'


def write_report(folders: Sequence[Path], out: Path) -> None:
    """Write the report of one run, or of several on one page.

    Args:
        folders (Sequence[Path]): Work dirs.
        out (Path): The HTML file.

    Raises:
        NoRunError: If a folder holds no run.
        OSError: If the file cannot be written.
    """
    runs = [read_run(folder) for folder in folders]
    out.write_text(render(runs), encoding='utf-8')


def render(runs: Sequence[Run]) -> str:
    """Return the page; whatever comes from the runs is escaped."""
    names = _names([run.folder for run in runs])
    plans = [plan_of(run) for run in runs]
    parts = sections([
        Source(i, name, run, plan) for i, (name, run, plan) in enumerate(
            zip(names, runs, plans, strict=True))
    ])
    shows = [
        film for i, run in enumerate(runs) for film in image_series(i, run)
    ]
    page = _environment().get_template('page.html')
    return page.render(
        names=names,
        runs=runs,
        plans=plans,
        figures=figures(runs, plans),
        sections=parts,
        image_series=shows,
        differences=config_differences([run.config for run in runs]),
        # keeps out what would slip through the escapes
        nonce=secrets.token_urlsafe(16),
        now=datetime.now().strftime('%Y-%m-%d %H:%M'),
        data=_json(
            charts=[c.figure() for part in parts for c in part.charts],
            image_series=[vars(film) for film in shows]))


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=StrictUndefined)
    made.globals.update(
        duration=duration,
        plotly=_plotly(),
        script=Markup((PAGE / 'page.js').read_text()),
        style=Markup((PAGE / 'page.css').read_text()))
    return made


def _plotly() -> str:
    """Return plotly's script, packed: a third of its size."""
    packed = gzip.compress(get_plotlyjs().encode(), mtime=0)
    return base64.b64encode(packed).decode()


def _json(**values: Any) -> Markup:
    """Return JSON that can stand inside of a script element."""
    return htmlsafe_json_dumps(
        values, dumps=partial(to_json_plotly, engine='json'))


def _names(folders: Sequence[Path]) -> list[str]:
    """Name the runs by as much of their paths as tells them apart."""
    paths = [Path(os.path.abspath(folder)) for folder in folders]
    for depth in range(1, max(len(path.parts) for path in paths)):
        names = ['/'.join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [f'{path.name} ({i})' for i, path in enumerate(paths, 1)]
