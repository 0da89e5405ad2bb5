"""One page of HTML that holds its pictures."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from string import Template
from typing import NamedTuple

import numpy as np
from PIL import Image

PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 76rem; padding: 0 1rem;
  background: light-dark(#fff, #16181d); color: light-dark(#222, #ddd) }
h1, h2 { line-height: 1.2 }
h2 { margin-top: 2.5rem }
pre { overflow-x: auto; padding: 1rem; font-size: 14px;
  background: light-dark(#f4f5f7, #22252c); border-radius: 6px }
figure { margin: 0; overflow-x: auto; background: #fff; border-radius: 6px }
img { display: block; max-width: none }
@media (min-width: 48rem) { img { max-width: 100% } }
</style>
<h1>$title</h1>
$body
</html>
""")


class Section(NamedTuple):
    """A part of a page."""

    heading: str
    text: str  # shown as it is, line by line
    picture: np.ndarray | None = None  # (H, W, 3) uint8 RGB


def write_page(path: Path, title: str, sections: Sequence[Section]) -> None:
    """Write a page that needs no other file and no network."""
    parts = []
    for section in sections:
        parts.append(f'<h2>{escape(section.heading)}</h2>')
        if section.text:
            parts.append(f'<pre>{escape(section.text)}</pre>')
        if section.picture is not None:
            name = escape(section.heading, quote=True)
            content = BytesIO()
            Image.fromarray(section.picture).save(
                content, 'PNG', optimize=True)
            data = base64.b64encode(content.getvalue()).decode()
            parts.append(f'<figure><img alt="{name}" src="data:image/png;'
                         f'base64,{data}"></figure>')
    path.write_text(PAGE.substitute(
        title=escape(title), body='\n'.join(parts)))
