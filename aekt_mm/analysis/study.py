"""Studies: which settings are better, with the uncertainty that a few seeds leave.

A study is data, a YAML file::

    hold_out: 0.2          # train without a fifth of the training set, and be measured on it
    measured_on: test      # or on the test set, once, when all is chosen
    baseline: dkd          # what the others are compared with
    seeds: [0, 1, 2]
    threads: 1             # of a trial, and how much of a GPU it has: 0.25 for four on one
    gpus: 0
    cached_teacher: {folder: work_dirs/teachers/resnet20, views: 8, format: float32}
    options:               # of every trial, as in --cfg-options
      train_cfg.max_epochs: 8
    arms:
      alone: {recipe: ../vanilla/vanilla_resnet8_cifar100_8e.py}
      dkd: {recipe: ../dkd/dkd_resnet20_resnet8_cifar100_8e.py}
      aekt:
        recipe: ../aekt/aekt_resnet20_resnet8_cifar100_8e.py
        options: {connector: null}
        grid: {model.losses.aekt.alpha: [1.0, 2.0]}       # an arm for each combination
      found:
        recipe: ../aekt/aekt_resnet20_resnet8_cifar100_8e.py
        search: {model.losses.aekt.beta: {loguniform: [1.0, 16.0]}}
        samples: 8                                         # as many arms, drawn at random

A trial is an arm with a seed. This file reads studies, keeps their results and compares them;
``running.py`` runs the trials.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from aekt_mm.files import replace_file

from .intervals import paired_interval

KEYS = (
    'hold_out',
    'measured_on',
    'baseline',
    'seeds',
    'threads',
    'gpus',
    'cached_teacher',
    'options',
    'arms',
)
ARM_KEYS = ('recipe', 'options', 'grid', 'search', 'samples')

#: A study's file of the teacher's logits for the images that its trials are measured on.
TEACHER_LOGITS = 'teacher_logits.npz'

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
        cached_teacher: ``folder``, ``views`` and ``format`` of a cache that all trials share.
        threads: How many a trial has; as many trials run at once as there are cores for.
        gpus: How much of a GPU a trial has, 0 for none.
    """

    path: Path
    baseline: str
    trials: tuple[Trial, ...]
    hold_out: float | None = None
    measured_on: str = 'test'
    cached_teacher: dict[str, Any] | None = None
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


def read_study(path: str | Path) -> Study:
    """Read a study's file.

    Raises:
        FileNotFoundError: If the file or a recipe in it is not there.
        ValueError: If it is no study; the message names the field.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'there is no study {path}')
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f'{path} is not YAML: {error}') from error
    _check_keys(path, '', content, KEYS, needed=('baseline', 'seeds', 'arms'))
    seeds, arms = content['seeds'], content['arms']
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int for seed in seeds):
        raise ValueError(f'{path}: seeds must be a list of whole numbers, but is {seeds!r}')
    if len(set(seeds)) < len(seeds):
        raise ValueError(f'{path}: seeds must differ, but are {seeds}')
    if not isinstance(arms, dict) or not arms:
        raise ValueError(f'{path}: arms must map names to recipes, but is {arms!r}')
    found: dict[str, tuple[Path | str, dict]] = {}
    for name, arm in arms.items():
        _check_keys(path, f'arms.{name}', arm, ARM_KEYS, needed=('recipe',))
        recipe = arm['recipe']
        if Path(recipe).suffix:  # else it is a recipe's name
            recipe = path.parent / recipe
            if not recipe.is_file():
                raise FileNotFoundError(f'{path}: arms.{name}.recipe: there is no {recipe}')
        fixed = {**(content.get('options') or {}), **(arm.get('options') or {})}
        for suffix, varied in _variants(path, name, arm):
            found[f'{name}{suffix}'] = (recipe, {**fixed, **varied})
    if content['baseline'] not in found:
        raise ValueError(
            f'{path}: baseline must be one of the arms, {", ".join(found)}, but is '
            f'{content["baseline"]!r}'
        )
    held_out = content.get('hold_out')
    measured_on = content.get('measured_on', 'test' if held_out is None else 'held-out')
    if measured_on not in (('test',) if held_out is None else ('test', 'held-out')):
        raise ValueError(
            f'{path}: measured_on must be test, or with hold_out held-out, but is {measured_on!r}'
        )
    cached_teacher = content.get('cached_teacher')
    if cached_teacher is not None:
        place = 'cached_teacher'
        _check_keys(path, place, cached_teacher, ('folder', 'views', 'format'), ('folder', 'views'))
    trials = [
        Trial(name, seed, recipe, options)
        for seed in seeds
        for name, (recipe, options) in found.items()
    ]
    return Study(
        path,
        content['baseline'],
        tuple(trials),
        held_out,
        measured_on,
        cached_teacher,
        content.get('threads', 1),
        content.get('gpus', 0),
    )


def _check_keys(
    path: Path, place: str, content: Any, known: tuple[str, ...], needed: tuple[str, ...]
) -> None:
    of = f'{path}: {place}' if place else str(path)
    if not isinstance(content, dict):
        raise ValueError(f'{of} must have {", ".join(needed)}, but is {content!r}')
    for key in content:
        if key not in known:
            raise ValueError(f'{of} has {key!r}, but knows only {", ".join(known)}')
    for key in needed:
        if key not in content:
            raise ValueError(f'{of} must have {key!r}')


def _variants(path: Path, name: str, arm: dict) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the settings that an arm's grid and search stand for, with what each is called."""
    grid, search = arm.get('grid') or {}, arm.get('search') or {}
    for combination in itertools.product(*grid.values()):
        chosen = dict(zip(grid, combination))
        if not search:
            yield _suffix(chosen), chosen
            continue
        for number in range(arm.get('samples', 1)):
            drawn = {**chosen, **_draw(path, name, search, number)}
            yield _suffix(drawn), drawn


def _draw(path: Path, name: str, search: dict, number: int) -> dict[str, float]:
    """Draw the settings of a search, the same ones every time."""
    from ray import tune

    drawn = {}
    for place, (option, domain) in enumerate(search.items()):
        kind, arguments = next(iter(domain.items()))
        if kind not in ('uniform', 'loguniform', 'choice'):
            raise ValueError(
                f'{path}: arms.{name}.search.{option} must be uniform: [low, high], loguniform: '
                f'[low, high] or choice: [...], but is {domain!r}'
            )
        sampler = tune.choice(arguments) if kind == 'choice' else getattr(tune, kind)(*arguments)
        value = sampler.sample(random_state=np.random.RandomState([number, place]))
        drawn[option] = float(f'{value:.4g}') if isinstance(value, float) else value
    return drawn


def _suffix(settings: dict[str, Any]) -> str:
    if not settings:
        return ''
    return ' ' + ' '.join(f'{key.rpartition(".")[2]}={value}' for key, value in settings.items())


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
        row = {'seeds': len(runs)}
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
