"""Findings of an analysis: tables, pictures, and notes on what is missing."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.axes import Axes


@dataclass(frozen=True)
class Panel:
    """A picture.

    Attributes:
        title: What it shows.
        draw: Draws it.
        width: In inches.
        height: In inches.
    """

    title: str
    draw: Callable[[Axes], None]
    width: float = 4.2
    height: float = 3.3


@dataclass(frozen=True)
class Table:
    """Numbers.

    Attributes:
        name: Of its file, without the suffix.
        frame: The numbers, a row a case.
        title: What they are.
        digits: How many are shown behind the point.
        place: Where a report shows it: 'open', 'folded', or 'file', not at all.
    """

    name: str
    frame: pd.DataFrame
    title: str
    digits: int = 3
    place: str = 'open'


@dataclass(frozen=True)
class Findings:
    """What an analysis found.

    Attributes:
        title: Of the analysis.
        text: What it looks at, and how its figures are read; a paragraph.
        tables: The numbers.
        panels: The pictures.
        key: The colours of what the pictures compare, by name.
        notes: What was left out, and why; a sentence each.
    """

    title: str
    text: str
    tables: list[Table] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)
    key: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
