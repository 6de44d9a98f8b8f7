"""Logged curves of several runs."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .drawing import colors, scale_logarithmically, short
from .findings import Findings, Panel, Table
from .runs import Run, read_scalars

#: What scalars are called, in the order in which they are shown; others come behind.
NAMES = {
    'accuracy/top1': 'Validation: top-1, %',
    'accuracy/top5': 'Validation: top-5, %',
    'loss': 'Loss',
    'loss_ce': 'Loss: cross-entropy',
    'loss_explicit': 'Loss: explicit',
    'loss_implicit': 'Loss: implicit',
    'applied_weight': 'Applied weight of explicit knowledge',
    'confidence_ratio': "Ratio of confidences, teacher's to student's",
    'student_top1': "Training: student's top-1, %",
    'teacher_top1': "Training: teacher's top-1, %",
    'agreement': 'Training: agreement with the teacher, %',
    'lr': 'Learning rate',
    'grad_norm': 'Norm of the gradient',
}

#: What says more of a machine than of a run.
LEFT_OUT = ('time', 'data_time', 'memory', 'base_lr', 'momentum', 'base_momentum')

TEXT = (
    'As the runs logged it, training smoothed over their log window. Where an arm has several '
    'seeds: their mean, and in the band all of them.'
)


def curves(arms: dict[str, Sequence[Run]]) -> Findings:
    """Draw what runs logged, a picture a scalar.

    The name of a loss before the dot is left out, so that the parts of different methods meet.

    Args:
        arms: Runs by the name that they share; those of an arm differ in their seed.
    """
    found: dict[str, dict[str, pd.DataFrame]] = {}
    silent = []
    for arm, runs in arms.items():
        logged = [_scalars(run) for run in runs]
        if not any(logged):
            silent.append(arm)
        for scalar in dict.fromkeys(name for run in logged for name in run):
            columns = {
                run.name: scalars[scalar] for run, scalars in zip(runs, logged) if scalar in scalars
            }
            found.setdefault(scalar, {})[arm] = pd.DataFrame(columns)
    order = [name for name in NAMES if name in found]
    order += sorted(set(found) - set(order))
    shades = colors(arms)
    table = pd.DataFrame(
        [
            (scalar, arm, run, epoch, value)
            for scalar in order
            for arm, frame in found[scalar].items()
            for run, values in frame.items()
            for epoch, value in values.dropna().items()
        ],
        columns=['scalar', 'arm', 'run', 'epoch', 'value'],
    )
    notes = [f'There are no logs (vis_data/scalars.json) of {", ".join(silent)}.'] if silent else []
    panels = [
        _panel(NAMES.get(scalar, scalar), found[scalar], shades)
        for scalar in order
        if sum(frame.size for frame in found[scalar].values()) > 1  # a number is no picture
    ]
    tables = [Table('curves', table, 'All that was logged', 6, place='file')]
    return Findings('Curves', TEXT, tables if len(table) else [], panels, shades, notes)


def _scalars(run: Run) -> dict[str, pd.Series]:
    found = {}
    for frame in read_scalars(run):
        for name in frame.columns:
            short = name.rpartition('.')[2]
            values = pd.to_numeric(frame[name], errors='coerce').dropna()
            if short not in LEFT_OUT and len(values):
                found[short] = values[~values.index.duplicated(keep='last')]
    return found


def _panel(title: str, arms: dict[str, pd.DataFrame], shades: dict[str, str]) -> Panel:
    def draw(axes: Axes) -> None:
        for arm, frame in arms.items():
            mean = frame.mean(1)
            axes.plot(mean.index, mean, '-', color=shades[arm], lw=1.5)
            if len(frame.columns) > 1:
                low, high = frame.min(1), frame.max(1)
                axes.fill_between(mean.index, low, high, color=shades[arm], alpha=0.18, lw=0)
        everything = np.concatenate([frame.to_numpy().ravel() for frame in arms.values()])
        everything = everything[np.isfinite(everything)]
        if len(everything) and everything.min() > 0 and everything.max() > 30 * everything.min():
            scale_logarithmically(axes.yaxis)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel('epoch')

    def draw_last(axes: Axes) -> None:
        for place, (arm, frame) in enumerate(reversed(arms.items())):
            values = frame.to_numpy().ravel()
            axes.plot(values, [place] * len(values), 'o', color=shades[arm], ms=5, alpha=0.7)
        axes.set_yticks(range(len(arms)), [short(arm) for arm in reversed(arms)])
        axes.set_ylim(-0.6, len(arms) - 0.4)

    # a single point is no curve
    if max(len(frame) for frame in arms.values()) == 1:
        return Panel(title, draw_last, 4.0, max(1.6, 0.8 + 0.28 * len(arms)))
    return Panel(title, draw, 4.0, 2.7)
