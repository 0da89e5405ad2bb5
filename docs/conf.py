"""How Sphinx makes pages of HTML from these files and from docstrings."""

from amt_mm.version import __version__

project = 'amt_mm'
author = 'AMT-MM contributors'
copyright = 'AMT-MM contributors'  # noqa: A001
release = __version__

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
exclude_patterns = ['_build']
html_theme_options = dict(description='Attention-driven masking and throwing')

myst_heading_anchors = 3
autodoc_default_options = {
    'members': True,
    'show-inheritance': True,
    'member-order': 'bysource',
}
autodoc_typehints = 'none'  # docstrings give the types
napoleon_use_ivar = True  # or fields are described twice
