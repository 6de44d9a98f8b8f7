"""Sphinx configuration.

sphinx-build -W --keep-going -n docs/en docs/_build      # as the tests do it
sphinx-build -b linkcheck docs/en docs/_build            # external links, where there is a network
"""

from aekt_mm import __version__

project = 'aekt_mm'
author = copyright = 'The aekt_mm contributors'
release = __version__
extensions = [
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx.ext.mathjax',
    'myst_parser',
]
myst_enable_extensions = ['dollarmath', 'deflist']
myst_heading_anchors = 3
html_theme = 'furo'
html_title = 'aekt_mm'
html_static_path = ['_static']
html_css_files = ['pages.css']
exclude_patterns = ['_build']
autodoc_typehints = 'description'
# other projects' names would need their inventories from the network
foreign = 'torch|numpy|pandas|mmengine|mmpretrain|matplotlib|rich|collections|pathlib|typing'
nitpick_ignore_regex = [('py:.*', rf'({foreign})\..*')]
