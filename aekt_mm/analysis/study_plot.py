"""A study as a picture: what each arm gains over the baseline, seed by seed."""

from pathlib import Path

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from aekt_mm.files import replace_file

from .drawing import GREY, colors
from .intervals import paired_interval
from .recipe_table import METHODS
from .study import MEASURES, Study


def plot_gains(
    study: Study, results: pd.DataFrame, measure: str = 'top1', title: str | None = None
) -> Figure:
    """Draw the differences of each arm to the baseline.

    A dot is a seed, a bar the mean difference and its 95 % interval; both as
    :func:`~aekt_mm.analysis.study.compare` has them.

    Args:
        study: Whose baseline is zero here.
        results: Of :func:`~aekt_mm.analysis.study.read_results`.
        measure: What is compared, one of ``MEASURES``.
        title: Of the picture.

    Returns:
        A figure on no background, for a light page and for a dark one.

    Raises:
        ValueError: If no arm has seeds in common with the baseline.
    """
    by_arm = {arm: runs.set_index('seed')[measure] for arm, runs in results.groupby('arm')}
    baseline = by_arm.get(study.baseline, pd.Series(dtype=float))
    gains = {
        arm: (by_arm[arm] - baseline).dropna()
        for arm in study.arms
        if arm in by_arm and arm != study.baseline
    }
    gains = {arm: gain for arm, gain in gains.items() if len(gain)}
    if not gains:
        raise ValueError(f'{study.results} has no arm with the seeds of {study.baseline}')

    figure = Figure(figsize=(7.2, 0.9 + 0.62 * len(gains)), layout='constrained')
    axes = figure.add_subplot()
    for place, (gain, colour) in enumerate(zip(gains.values(), colors(gains).values())):
        mean, half = paired_interval(gain)
        axes.plot(gain, [place + 0.17] * len(gain), 'o', ms=4.5, mew=0, alpha=0.55, color=colour)
        axes.errorbar(mean, place - 0.13, xerr=half, fmt='D', ms=7, lw=3.5, capsize=0, color=colour)
        text = f'{mean:+.1f}' if pd.isna(half) else f'{mean:+.1f} ± {half:.1f}'
        axes.annotate(
            text,
            (1.01, place),
            xycoords=('axes fraction', 'data'),
            va='center',
            fontsize=11,
            fontweight='bold',
            color=colour,
        )
    heading = MEASURES[measure][0].partition(',')[0]
    axes.set_yticks(range(len(gains)), [METHODS.get(arm, arm) for arm in gains], fontsize=12)
    axes.set_ylim(len(gains) - 0.5, -0.5)
    axes.set_xlabel(
        f'{heading}, difference to {study.baseline}: '
        'a dot a seed, ◆ their mean, ― its 95 % interval'
    )
    axes.set_title(title or '', fontsize=11.5, loc='left', color=GREY)
    axes.axvline(0, color=GREY, lw=1.2)
    axes.tick_params(colors=GREY, length=0)
    axes.xaxis.label.set_color(GREY)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as its suffix says (.svg, .png, .pdf), the same bytes for the same figure."""
    kind = Path(path).suffix.removeprefix('.')
    dated = {'Date': None} if kind == 'svg' else None
    with rc_context({'svg.hashsalt': 'aekt_mm'}):
        replace_file(
            path,
            lambda partial: figure.savefig(
                partial, format=kind, transparent=True, dpi=200, metadata=dated
            ),
        )
