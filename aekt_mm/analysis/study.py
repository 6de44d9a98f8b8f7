"""Studies: which settings are better, with the uncertainty that a few seeds leave.

A study compares arms, and a trial is an arm with a seed. This file keeps the results of trials and
compares them; ``study_file.py`` reads studies, ``running.py`` runs the trials.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aekt_mm.files import replace_file

from .intervals import paired_interval

if TYPE_CHECKING:
    from .study_file import SharedCache

#: What a trial measures, in the order of the columns, with heading and digits in a table.
MEASURES = {
    'top1': ('top-1, %', 2),
    'top5': ('top-5, %', 2),
    'agreement': ('agreement, %', 2),
    'confidence_gap': ('confidence gap', 4),
    'nll': ('NLL', 4),
    'calibration_error': ('ECE', 4),
}


@dataclass(frozen=True)
class Trial:
    """An arm with a seed.

    Attributes:
        arm: Its name.
        seed: Of weights and order.
        recipe: Its path, or a name as ``tools/train.py`` takes it.
        options: What the trial overrides in it, as in ``--cfg-options``.
    """

    arm: str
    seed: int
    recipe: Path | str
    options: dict[str, Any] = field(hash=False)

    @property
    def name(self) -> str:
        """What its work directory is called."""
        return f'{self.arm}/seed_{self.seed}'


@dataclass(frozen=True)
class Study:
    """What a study's file says.

    Attributes:
        path: The file. Results go beside it, under its name with ``.csv``.
        baseline: The arm that the others are compared with.
        trials: All of them, seed by seed.
        hold_out: What share of the training set the trials are trained without.
        measured_on: ``'held-out'``, that share, or ``'test'``, the test set.
        cached_teacher: The cache that all trials share, if there is one.
        threads: How many a trial has; as many trials run at once as there are cores for.
        gpus: How much of a GPU a trial has, 0 for none.
    """

    path: Path
    baseline: str
    trials: tuple[Trial, ...]
    hold_out: float | None = None
    measured_on: str = 'test'
    cached_teacher: 'SharedCache | None' = None
    threads: int = 1
    gpus: float = 0

    @property
    def results(self) -> Path:
        """Where its results are kept, a row a trial."""
        return self.path.with_suffix('.csv')

    @property
    def arms(self) -> list[str]:
        """The names of its arms, in the order of the file."""
        return list(dict.fromkeys(trial.arm for trial in self.trials))


def read_results(study: Study) -> pd.DataFrame:
    """Return the results of a study so far, a row a trial.

    Raises:
        ValueError: If the file has results of the same arm and seed with other settings.
    """
    if not study.results.is_file():
        return pd.DataFrame({'arm': [], 'seed': []})
    results = pd.read_csv(study.results, dtype={'commit': str})
    known = {(trial.arm, trial.seed): settings(trial) for trial in study.trials}
    for _, row in results.iterrows():
        expected = known.get((row['arm'], row['seed']))
        if expected is not None and row['settings'] != expected:
            raise ValueError(
                f'{study.results} has a result of {row["arm"]} with {row["settings"]}, but the '
                f'study now says {expected}: give the arm another name, or remove its rows'
            )
    return results


def settings(trial: Trial) -> str:
    """Return a trial's recipe and options in a line, as results keep them."""
    options = ' '.join(f'{key}={value}' for key, value in trial.options.items())
    return f'{Path(trial.recipe).stem} {options}'.strip()


def missing(study: Study) -> list[Trial]:
    """Return the trials of a study that have no result yet."""
    results = read_results(study)
    done = set(zip(results['arm'], results['seed']))
    return [trial for trial in study.trials if (trial.arm, trial.seed) not in done]


def add_result(study: Study, trial: Trial, measured: dict[str, Any]) -> None:
    """Add a trial's row to the results, which are written whole or not at all."""
    row = {'arm': trial.arm, 'seed': trial.seed, 'settings': settings(trial), **measured}
    results = pd.concat([read_results(study), pd.DataFrame([row])], ignore_index=True)
    order = {arm: number for number, arm in enumerate(study.arms)}
    results = results.sort_values(
        ['arm', 'seed'], key=lambda column: column.map(order) if column.name == 'arm' else column
    )
    replace_file(study.results, lambda path: results.to_csv(path, index=False, float_format='%.6g'))


def compare(results: pd.DataFrame, arms: Sequence[str], baseline: str) -> pd.DataFrame:
    """Summarise the results of each arm and compare it with the baseline.

    Differences are paired: of the runs with the same seed, which see the same images in the same
    order and start from the same weights. Their 95 % interval is Student's t over seeds.

    Args:
        results: A row a run, with ``arm``, ``seed`` and measures, as of :func:`read_results`.
        arms: In their order.
        baseline: The arm that the others are compared with.

    Returns:
        A row for each arm with results. ``seeds`` is how many it has; of each measure there are
        ``_mean``, ``_sd``, ``_gain`` (the mean difference to the baseline) and ``_interval`` (half
        its width; NaN where there are fewer than two pairs).
    """
    rows = {}
    compared = results[results['arm'] == baseline].set_index('seed')
    for arm in arms:
        runs = results[results['arm'] == arm].set_index('seed')
        if runs.empty:
            continue
        row: dict[str, float] = {'seeds': len(runs)}
        for measure in filter(runs.columns.__contains__, MEASURES):
            row[f'{measure}_mean'] = runs[measure].mean()
            row[f'{measure}_sd'] = runs[measure].std()
            gain = (runs[measure] - compared[measure]).dropna()
            row[f'{measure}_gain'], row[f'{measure}_interval'] = paired_interval(gain)
        rows[arm] = row
    return pd.DataFrame.from_dict(rows, orient='index')


def shown_gain(row: pd.Series, measure: str) -> str:
    """Return an arm's mean difference to the baseline with its interval, as far as there are any.

    Args:
        row: Of :func:`compare`.
        measure: One of ``MEASURES``.
    """
    gain, interval = row[f'{measure}_gain'], row[f'{measure}_interval']
    if np.isnan(gain):
        return ''
    return f'{gain:+.2f}' + ('' if np.isnan(interval) else f' ± {interval:.2f}')


def markdown(study: Study, results: pd.DataFrame) -> str:
    """Return the comparison as a Markdown table."""
    table = compare(results, study.arms, study.baseline)
    measures = [measure for measure in MEASURES if f'{measure}_mean' in table]
    heading = ['', 'seeds', *(MEASURES[measure][0] for measure in measures)]
    heading.insert(3, f'against {study.baseline}')
    lines = ['| ' + ' | '.join(heading) + ' |', '|---' * len(heading) + '|']
    for arm, row in table.iterrows():
        cells = [arm, f'{row["seeds"]:.0f}']
        for measure in measures:
            digits = MEASURES[measure][1]
            spread = f' ± {row[f"{measure}_sd"]:.{digits}f}' if row['seeds'] > 1 else ''
            cells.append(f'{row[f"{measure}_mean"]:.{digits}f}{spread}')
        cells.insert(3, '' if arm == study.baseline else shown_gain(row, measures[0]))
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'
