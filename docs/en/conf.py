"""Sphinx configuration."""

from aekt_mm import __version__

project = 'aekt_mm'
author = copyright = 'The aekt_mm contributors'
release = __version__
extensions = ['sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx.ext.mathjax', 'myst_parser']
myst_enable_extensions = ['dollarmath', 'deflist']
myst_heading_anchors = 3
html_theme = 'furo'
exclude_patterns = ['_build']
autodoc_typehints = 'description'
