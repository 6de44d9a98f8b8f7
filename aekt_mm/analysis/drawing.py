"""Pictures as PNG files and as SVG that takes its colours from the page it is in."""

import io
import re
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from aekt_mm.files import replace_file

from .findings import Findings, Panel

#: Lines and letters; in a page it becomes the colour of its text.
INK = '#1b1f24'

#: Dots that become part of a raster, where no page can change them: read on both.
GREY = '#7d8894'

#: Of what is compared. They can be told from each other, from white and from near black.
COLORS = ('#d1495b', '#2f80c8', '#2f9e6e', '#d9822b', '#9467c9', '#1f9bb5')

#: From nothing, which is transparent, to much; and from one side over nothing to the other.
_BLUE, _RED = (0.18, 0.5, 0.78), (0.82, 0.29, 0.36)
AMOUNT = LinearSegmentedColormap.from_list('amount', [(*_BLUE, 0), (*_BLUE, 1)])
BALANCE = LinearSegmentedColormap.from_list(
    'balance', [(0, (*_BLUE, 1)), (0.5, (*_BLUE, 0)), (0.5, (*_RED, 0)), (1, (*_RED, 1))]
)

#: How many classes a picture names.
NAMED_CLASSES = 20

_STYLE: dict[Any, Any] = {
    'axes.axisbelow': True,
    'axes.edgecolor': INK,
    'axes.facecolor': 'none',
    'axes.grid': True,
    'axes.labelcolor': INK,
    'axes.spines.right': False,
    'axes.spines.top': False,
    'axes.titlecolor': INK,
    'axes.titlesize': 10,
    'figure.facecolor': 'none',
    'font.size': 9,
    'grid.alpha': 0.15,
    'grid.color': INK,
    'grid.linewidth': 0.6,
    'legend.fontsize': 8,
    'legend.frameon': False,
    'legend.labelcolor': INK,
    'savefig.facecolor': 'none',
    'svg.fonttype': 'path',
    'svg.hashsalt': 'aekt_mm',
    'text.color': INK,
    'text.parse_math': False,  # names are a user's, and may have a $ in them
    'xtick.color': INK,
    'ytick.color': INK,
}


def colors(names: Iterable[str]) -> dict[str, str]:
    """Return a colour for each name, in their order; with many they come again."""
    return {name: COLORS[number % len(COLORS)] for number, name in enumerate(names)}


def write_png(findings: Findings, path: Path) -> None:
    """Draw all panels into one picture, on white: their key, then at most three in a row."""
    panels = findings.panels
    columns = min(len(panels), 3)
    rows = [panels[first : first + columns] for first in range(0, len(panels), columns)]
    width = max(sum(panel.width for panel in row) for row in rows)
    heights = [max(panel.height for panel in row) + 0.2 for row in rows]
    with matplotlib.rc_context(_STYLE):
        figure = Figure((width, 0.3 + sum(heights)), layout='constrained')
        figures: Any = figure.subfigures(1 + len(rows), height_ratios=[0.3, *heights])
        head, *lines = figures
        marks = [Line2D([], [], color=color, lw=4) for color in findings.key.values()]
        head.legend(marks, findings.key, loc='center left', ncols=max(len(marks), 1))
        for line, row in zip(lines, rows):
            ratios = [panel.width for panel in row]
            free = width - sum(ratios)
            grid = line.add_gridspec(
                1, len(row) + (free > 0), width_ratios=ratios + [free] * (free > 0)
            )
            for place, panel in zip(grid, row):
                axes = line.add_subplot(place)
                axes.set_title(panel.title, loc='left')
                panel.draw(axes)
        replace_file(
            path, lambda part: figure.savefig(part, dpi=144, format='png', facecolor='white')
        )


def to_svg(panel: Panel, prefix: str) -> str:
    """Draw a panel as SVG for a page of HTML.

    Args:
        panel: Without its title, which the page has.
        prefix: Of the names inside, so that they differ from other pictures' of the page.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure((panel.width, panel.height), layout='constrained')
        panel.draw(figure.add_subplot())
        file = io.StringIO()
        nothing = dict.fromkeys(('Creator', 'Date', 'Format', 'Type'))
        figure.savefig(file, format='svg', dpi=144, metadata=nothing)
    text = file.getvalue()
    text = text[text.index('<svg') :]
    text = re.sub(r'<metadata>.*?</metadata>\s*', '', text, flags=re.DOTALL)
    text = re.sub(r' (width|height)="[\d.]+pt"', '', text, count=2)
    text = re.sub(r' id="(?!p|m|i|D|C|h)\w+"', '', text)  # nothing refers to these
    text = re.sub(r'( id="|href="#|url\(#)', rf'\g<1>{prefix}-', text)
    text = text.replace(INK, 'currentColor')
    label = f'<svg role="img" aria-label="{escape(panel.title)}"'
    return text.replace('<svg', label, 1)


def class_dots(
    axes: Axes, values: pd.DataFrame, key: dict[str, str], highest: bool = False
) -> None:
    """Draw a value of each class as a dot for each run; of many classes those that stand out.

    Args:
        axes: Where.
        values: A row a class, a column a run.
        key: The runs' colours.
        highest: Whether classes with high values stand out.
    """
    order = values.mean(1).dropna().sort_values(ascending=highest).index
    shown = values.loc[order[-NAMED_CLASSES:]]  # what stands out most comes last, at the top
    for run in values.columns:
        axes.plot(shown[run], range(len(shown)), 'o', color=key[run], ms=4.5, alpha=0.85)
    axes.set_yticks(range(len(shown)), [short(name) for name in shown.index])
    axes.set_ylim(-0.6, len(shown) - 0.4)


def weighted_line(axes: Axes, x: np.ndarray, y: np.ndarray, counts: np.ndarray, color: str) -> None:
    """Draw a line through means whose dots are the larger the more samples they are of."""
    axes.plot(x, y, '-', color=color, lw=1.2, alpha=0.6)
    axes.scatter(x, y, s=4 + 60 * np.sqrt(counts / counts.sum()), color=color, lw=0, alpha=0.85)


def scale_logarithmically(axis: XAxis | YAxis) -> None:
    """Give an axis powers of ten, written as numbers."""
    axis.axes.set(**{f'{axis.axis_name}scale': 'log'})
    axis.set_major_formatter('{x:g}')
    axis.set_minor_locator(NullLocator())


def short(name: object, length: int = 22) -> str:
    """Return a name that fits beside a picture.

    Examples:
        >>> short('aquarium fish'), short('a' * 40, 8)
        ('aquarium fish', 'aaaaaaa…')
    """
    name = str(name)
    return name if len(name) <= length else name[: length - 1] + '…'
