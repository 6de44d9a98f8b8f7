"""A report of runs or of a study: one HTML file that needs nothing else."""

import datetime
import importlib.resources
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes

import aekt_mm
from aekt_mm.evaluation import measure
from aekt_mm.files import replace_text

from .class_relations import class_relations
from .curves import curves
from .differing_images import DifferingImage, differing_images
from .drawing import INK, colors, short, to_svg
from .explicit_knowledge import explicit_knowledge
from .findings import Findings, Panel, Table
from .gradient_field import gradient_fields
from .predictions import NothingToPredict, Predictions, predict
from .runs import INCIDENTAL, Run, flatten, group_by_seed, read_environment, read_runs
from .similarity import similarity
from .study import MEASURES, Study, compare, read_results, shown_gain

#: How many arms the pictures show: more can not be told apart.
PICTURED = 6

#: Of one run so many images are shown, of several half as many each.
IMAGES = 12

#: A table has at most so many rows; all are in the files of tools/analysis_tools/analyse.py.
ROWS = 200

#: What a recipe is in a few lines: the names of settings, and what they are called.
SETTINGS = {
    'train_dataloader.dataset.type': 'data set',
    'train_cfg.max_epochs': 'epochs',
    'train_dataloader.batch_size': 'batch size',
    'optim_wrapper.optimizer.type': 'optimizer',
    'optim_wrapper.optimizer.lr': 'learning rate',
    'model.student.backbone.type': 'student',
    'model.student.backbone.depth': "student's depth",
    'model.backbone.type': 'student',
    'model.backbone.depth': "student's depth",
    'model.teacher.type': 'teacher',
    'model.teacher.model.backbone.type': "teacher's network",
    'model.teacher.model.backbone.depth': "teacher's depth",
    'model.teacher.checkpoint': "teacher's weights",
    'model.teacher.cache': "teacher's cache",
    'model.connector.type': 'connector',
    'model.connector.order': 'order of the tasks',
}


@dataclass
class Report:
    """What a report shows, from top to bottom.

    Attributes:
        title: Of the page.
        subtitle: What was measured on what, a sentence.
        sections: Findings in their order; the first is the summary.
        images: Those on which students and teachers differ, by run.
        recipes: Settings by name, of each arm.
        differences: Settings that are not the same in all arms, a row each.
        configs: The whole configs by arm.
        environment: What the runs ran on, a column each where it is not the same.
        notes: What is missing, and why; a sentence each.
    """

    title: str
    subtitle: str
    sections: list[Findings] = field(default_factory=list)
    images: dict[str, list[DifferingImage]] = field(default_factory=dict)
    recipes: pd.DataFrame | None = None
    differences: pd.DataFrame | None = None
    configs: dict[str, str] = field(default_factory=dict)
    environment: pd.DataFrame | None = None
    notes: list[str] = field(default_factory=list)


def report_runs(folders: Sequence[str]) -> Report:
    """Make the report of finished runs.

    Runs that differ in nothing but their seed are an arm; arms are compared with the first, seed
    by seed. Pictures show the first seed of each.

    Args:
        folders: Their work directories, or what else
            :func:`~aekt_mm.analysis.runs.read_runs` reads.

    Raises:
        FileNotFoundError: If one is not there.
        ValueError: If one is no run's, not finished, of other images than the first, or its
            checkpoint is another network's.
    """
    runs = read_runs(folders)
    arms = group_by_seed(runs)
    names = list(arms)
    title = names[0] if len(names) == 1 else ' · '.join(names[:PICTURED])
    report = Report(short(title, 80), _counted([len(members) for members in arms.values()]))
    predictions = _predicted(runs, report)
    if predictions is not None:
        report.subtitle += f', measured on {len(predictions.labels):,} images'
        results = pd.DataFrame(
            [
                {
                    'arm': arm,
                    'seed': number if run.seed is None else run.seed,
                    **measure(
                        predictions.students[run.name],
                        predictions.labels,
                        predictions.teachers.get(run.name),
                    ),
                }
                for arm, members in arms.items()
                for number, run in enumerate(members)
            ]
        )
        # a seed that was run twice counts once
        results = results.groupby(['arm', 'seed'], as_index=False, sort=False).mean()
        summary = summarise(results, names, names[0], _teacher_row(predictions))
        report.sections.append(summary)
    _add_findings(report, arms, predictions)
    return report


def report_study(study: Study, work_dir: Path) -> Report:
    """Make the report of a study, with its trials' curves and checkpoints where they are.

    Args:
        study: With some results.
        work_dir: Where its trials ran; they need not be there any more.

    Raises:
        ValueError: If there is no result yet, or results are of other settings.
    """
    results = read_results(study)
    results = results[results['arm'].isin(study.arms)]
    if results.empty:
        raise ValueError(f'{study.path} has no results yet: tools/study.py {study.path} runs it')
    done = [arm for arm in study.arms if arm in set(results['arm'])]
    seeds = [int((results['arm'] == arm).sum()) for arm in done]
    part = 'the test set' if study.hold_out is None else 'a held-out part of the training set'
    report = Report(f'Study {study.path.stem}', f'{_counted(seeds)}, measured on {part}')
    report.sections.append(summarise(results, done, study.baseline))
    missing = len(study.trials) - len(results)
    if missing > 0:
        report.notes.append(f'{missing} of {len(study.trials)} trials have no result yet.')
    arms = {}
    for arm in done:
        folders = [work_dir / trial.name for trial in study.trials if trial.arm == arm]
        there = [str(folder) for folder in folders if (folder / 'last_checkpoint').is_file()]
        if there:
            try:
                arms[arm] = read_runs(there)
            except (OSError, ValueError) as error:
                report.notes.append(f'The trials of {arm} are left out of the pictures: {error}.')
    if not arms:
        report.notes.append(
            f'What the trials wrote is not in {work_dir}: there are results, but no curves, '
            'recipes and pictures.'
        )
        return report
    # a trial's own name is that of its seed
    arms = {
        arm: [replace(run, name=f'{arm}/{run.name}') for run in runs] for arm, runs in arms.items()
    }
    shown = list(arms)[:PICTURED]
    predictions = _predicted([arms[arm][0] for arm in shown], report, work_dir)
    _add_findings(report, arms, predictions)
    return report


def _counted(seeds: Sequence[int]) -> str:
    """Say how many arms there are and how many seeds each has."""
    arms = 'one setting' if len(seeds) == 1 else f'{len(seeds)} settings'
    if max(seeds) == 1:
        return 'one run' if len(seeds) == 1 else arms
    if len(seeds) == 1:
        return f'{arms} with {seeds[0]} seeds'
    same = len(set(seeds)) == 1
    return f'{arms} with ' + (f'{seeds[0]} seeds each' if same else f'up to {max(seeds)} seeds')


def _predicted(runs: Sequence[Run], report: Report, kept: Path | None = None) -> Predictions | None:
    """Return what runs predict, or None, with the reason in the report."""
    try:
        return predict(runs, kept)
    except (FileNotFoundError, ImportError) as error:
        report.notes.append(f'Without test images nothing is measured anew: {error}.')
    except NothingToPredict as error:
        report.notes.append(f'Nothing is measured anew: {error}.')
    return None


def _teacher_row(predictions: Predictions) -> dict[str, dict[str, float]]:
    return {
        name: measure(logits, predictions.labels)
        for name, logits in predictions.networks().items()
        if name not in predictions.students
    }


def _add_findings(
    report: Report, arms: Mapping[str, Sequence[Run]], predictions: Predictions | None
) -> None:
    """Add tables and pictures of the arms' runs to a report."""
    pictured = dict(list(arms.items())[:PICTURED])
    if len(pictured) < len(arms):
        left = ', '.join(list(arms)[PICTURED:])
        report.notes.append(f'Pictures show the first {PICTURED} arms, without {left}.')
    report.sections.append(curves(pictured))
    first = [replace(runs[0], name=arm) for arm, runs in pictured.items()]
    if max(map(len, pictured.values())) > 1:
        report.notes.append('Pictures below the curves show the first seed of each arm.')
    if predictions is not None:
        shown = predictions.named({runs[0].name: arm for arm, runs in pictured.items()})
        report.notes += predictions.notes
        if shown.teachers:
            report.sections.append(similarity(shown))
        report.sections.append(explicit_knowledge(shown))
        relations = class_relations(first, shown)
        if relations.tables:
            report.sections.append(relations)
        else:
            report.notes += relations.notes
        report.images = differing_images(shown, IMAGES if len(shown.teachers) == 1 else IMAGES // 2)
    classes = len(predictions.classes) if predictions is not None else 100
    fields = gradient_fields(first, classes)
    if fields.tables:
        report.sections.append(fields)
    report.recipes = _recipes(first)
    frame = pd.DataFrame({run.name: _settings(run) for run in first})
    if len(first) > 1:
        varying = frame.apply(lambda row: row.astype(str).nunique() > 1, axis=1)
        report.differences = frame[varying].fillna('')
    report.configs = {run.name: run.cfg.pretty_text for run in first}
    environment = pd.DataFrame({run.name: read_environment(run) for run in first}).fillna('')
    if len(environment):
        same = (environment.nunique(axis=1) == 1).all()
        report.environment = environment.iloc[:, :1].set_axis([''], axis=1) if same else environment


def _recipes(runs: Sequence[Run]) -> pd.DataFrame:
    """Return a table of the recipes' main settings, a column each; an only loss is ``loss``."""
    found = {}
    for run in runs:
        settings, losses = _settings(run), list(run.cfg.model.get('losses') or {})
        shown = {called: settings[name] for name, called in SETTINGS.items() if name in settings}
        for name, value in settings.items():
            if name.startswith(('model.losses.', 'model.features.')):
                only = f'model.losses.{losses[0]}.' if len(losses) == 1 else 'model.losses.'
                shown[name.replace(only, 'loss.', 1)] = value
        found[run.name] = shown
    order = dict.fromkeys(
        [*SETTINGS.values(), *(name for shown in found.values() for name in shown)]
    )
    frame = pd.DataFrame(found)
    return frame.loc[[name for name in order if name in frame.index]].fillna('')


def _settings(run: Run) -> dict[str, str]:
    return {
        name: str(value)
        for name, value in flatten(run.cfg.to_dict()).items()
        if not INCIDENTAL.fullmatch(name)
    }


def summarise(
    results: pd.DataFrame,
    arms: Sequence[str],
    baseline: str,
    others: dict[str, dict[str, float]] | None = None,
) -> Findings:
    """Return the table of a comparison, and a picture of its main measure.

    Args:
        results: A row a run: ``arm``, ``seed`` and measures.
        arms: In their order.
        baseline: The arm that the others are compared with.
        others: Measures of networks that are not compared, a teacher, by name.
    """
    table = compare(results, arms, baseline)
    measures = [name for name in MEASURES if f'{name}_mean' in table]
    rows = {}
    for name, found in (others or {}).items():
        rows[name] = {
            MEASURES[m][0]: f'{found[m]:.{MEASURES[m][1]}f}' for m in measures if m in found
        }
    seeded = table['seeds'].max() > 1
    for arm, row in table.iterrows():
        cells = {'seeds': f'{row["seeds"]:.0f}'} if seeded else {}
        for name in measures:
            heading, digits = MEASURES[name]
            cells[heading] = f'{row[f"{name}_mean"]:.{digits}f}'
            if row['seeds'] > 1:
                cells[heading] += f' ± {row[f"{name}_sd"]:.{digits}f}'
            if name == measures[0] and len(table) > 1:
                gain = '' if arm == baseline else shown_gain(row, name)
                cells[f'against {baseline}'] = gain
        rows[arm] = cells
    frame = pd.DataFrame.from_dict(rows, orient='index').fillna('')
    order = ['seeds', *(MEASURES[name][0] for name in measures)]
    order.insert(2, f'against {baseline}')
    frame = frame[[column for column in order if column in frame]]
    text = (
        'Of the student of the last epoch. Agreement: with the teacher. Confidence gap: the mean '
        "distance of student's and teacher's confidence in the true class. NLL in nats; ECE: "
        'expected calibration error.'
    )
    if seeded:
        text += (
            f' Mean ± standard deviation over seeds; differences to {baseline} are paired, seed by '
            'seed, ± half their 95 % interval (Student’s t).'
        )
    key = colors(arms[:PICTURED]) | dict.fromkeys(arms[PICTURED:], INK)
    panels = [_runs_panel(results, arms, measures[0], key)] if seeded else []
    gains = table[f'{measures[0]}_gain'].drop(baseline, errors='ignore').dropna()
    if seeded and len(gains):
        halves = table.loc[gains.index, f'{measures[0]}_interval']
        panels.append(_gains_panel(gains, halves, baseline, MEASURES[measures[0]][0], key))
    return Findings('Summary', text, [Table('summary', frame, '')], panels)


def _arms_axis(axes: Axes, arms: Sequence[str]) -> None:
    axes.set_yticks(range(len(arms)), [short(arm, 30) for arm in reversed(arms)])
    axes.set_ylim(-0.6, len(arms) - 0.4)


def _runs_panel(
    results: pd.DataFrame, arms: Sequence[str], name: str, key: dict[str, str]
) -> Panel:
    def draw(axes: Axes) -> None:
        for place, arm in enumerate(reversed(arms)):
            values = results.loc[results['arm'] == arm, name].dropna().tolist()
            axes.plot(values, [place] * len(values), 'o', color=key[arm], ms=5, alpha=0.5, mew=0)
            if len(values) > 1:
                mean = statistics.mean(values)
                axes.plot([mean, mean], [place - 0.3, place + 0.3], color=key[arm], lw=2)
        _arms_axis(axes, arms)

    return Panel(f'{MEASURES[name][0]}, run by run', draw, 4.6, 0.9 + 0.3 * len(arms))


def _gains_panel(
    gains: pd.Series, halves: pd.Series, baseline: str, name: str, key: dict[str, str]
) -> Panel:
    def draw(axes: Axes) -> None:
        for place, arm in enumerate(reversed(gains.index)):
            half = np.nan_to_num(halves[arm])
            ends = [gains[arm] - half, gains[arm] + half]
            axes.plot(ends, [place, place], '-', color=key[arm], lw=2)
            axes.plot(gains[arm], place, 'o', color=key[arm], ms=6)
        axes.axvline(0, color=INK, lw=0.8, alpha=0.6)
        _arms_axis(axes, list(gains.index))

    width = 'with 95 % interval' if halves.notna().any() else 'one seed each'
    title = f'{name}: difference to {baseline}, {width}'
    return Panel(title, draw, 4.6, 0.9 + 0.3 * len(gains))


def write_report(report: Report, path: Path) -> None:
    """Write a report as one file of HTML, whole or not at all."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    source = importlib.resources.files('aekt_mm.analysis') / 'report.html'
    template = environment.from_string(source.read_text(encoding='utf-8'))
    pictures = [
        [Markup(to_svg(panel, f's{number}p{place}')) for place, panel in enumerate(section.panels)]
        for number, section in enumerate(report.sections)
    ]
    text = template.render(
        report=report,
        pictures=pictures,
        ink=INK,
        rows=ROWS,
        cell=_cell,
        is_text=_is_text,
        breakable=_breakable,
        version=aekt_mm.__version__,
        written=datetime.datetime.now().strftime('%Y-%m-%d %H:%M'),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, text)


def _cell(value: Any, digits: int) -> str:
    """Return a number or text as a table shows it."""
    if isinstance(value, bool | np.bool_):
        return 'yes' if value else 'no'
    if pd.isna(value):
        return ''
    return f'{value:.{digits}f}' if isinstance(value, float | np.floating) else str(value)


def _breakable(name: Any) -> Markup:
    """Return a name that a narrow page may break behind what separates its parts."""
    return Markup('<wbr>').join(re.split(r'(?<=[._/])', str(name)))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not value[:1].lstrip('+-').isdigit()
