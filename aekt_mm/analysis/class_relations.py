"""Class relations in the FC layer, beside the teacher's confusions."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy import stats
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from aekt_mm.evaluation import soft_confusion
from aekt_mm.models.checkpoints import load_restricted

from .drawing import BALANCE, COLORS, GREY, scale_logarithmically, short
from .findings import Findings, Panel, Table
from .predictions import Predictions
from .runs import Run

#: How many of the strongest pairs a table has.
PAIRS = 12

#: Up to how many classes a heat map names them.
NAMED = 25

TEXT = (
    'The FC layer maps the logits of one task to those of the other; its weight from class to '
    'class says how one counts for the other. Softmax does not see what all outputs share, so '
    "weights are counted from each input's median; a pair's weight is the mean of both directions. "
    'Beside it stands what the teacher confuses: the probability that it gives one class on images '
    'of the other. Classes are ordered by hierarchical clustering (average linkage), so that '
    'related ones stand together.'
)


def fc_weight(run: Run) -> np.ndarray | None:
    """Return the weight of a run's FC layer, (C, C) from column to row, or None without one.

    A number added to a column moves all logits of a sample alike, which softmax does not see: each
    column is shifted so that its median off the diagonal is 0, and most pairs have little weight.
    """
    if run.checkpoint is None:
        return None
    state = load_restricted(run.checkpoint).get('state_dict', {})
    weight = state.get('connector.fc.weight')
    if weight is None:
        return None
    weight = weight.double().numpy()
    others = np.where(np.eye(len(weight), dtype=bool), np.nan, weight)
    return weight - np.nanmedian(others, 0)


def symmetric(matrix: np.ndarray) -> np.ndarray:
    """Return the mean of both directions, with nothing on the diagonal."""
    matrix = (matrix + matrix.T) / 2
    np.fill_diagonal(matrix, 0)
    return matrix


def cluster(relation: np.ndarray) -> list[int]:
    """Return the classes in an order in which related ones, whichever way, stand together.

    Args:
        relation: (C, C), symmetric.
    """
    strength = np.abs(relation)
    distance = squareform(strength.max() - strength, checks=False)
    links = hierarchy.linkage(distance, 'average', optimal_ordering=len(relation) <= 300)
    return hierarchy.leaves_list(links).tolist()


def class_relations(runs: Sequence[Run], predictions: Predictions) -> Findings:
    """Look at the FC layers of runs.

    Args:
        runs: Those without an FC layer are left out, with a note.
        predictions: Theirs.

    Returns:
        Tables of how each layer goes with the teacher's confusions and the data set's superclasses,
        of its strongest pairs, and of all pairs; for each a heat map, and a picture of its pairs
        against the teacher's.
    """
    classes = predictions.classes
    superclasses = (getattr(predictions.dataset, 'metainfo', None) or {}).get('superclasses')
    overall, pairs, panels = {}, [], []
    for run in runs:
        weight = fc_weight(run)
        if weight is None:
            continue
        relation, confusion = symmetric(weight), None
        if run.name in predictions.teachers:
            teacher = predictions.teachers[run.name]
            confusion = symmetric(soft_confusion(teacher, predictions.labels).numpy())
        frame = _pairs(relation, confusion, classes, superclasses)
        overall[run.name] = _summary(frame)
        order = cluster(relation)
        names = [classes[k] for k in order]
        panels.append(_heat_map(f'FC weights: {run.name}', weight[np.ix_(order, order)], names))
        if confusion is not None:
            confused = confusion[np.ix_(order, order)]
            panels.append(_heat_map(f'Teacher confuses, same order: {run.name}', confused, names))
            panels.append(_beside(run.name, frame))
        frame.insert(0, 'run', run.name)
        pairs.append(frame)
    if not pairs:
        note = 'No run has an FC layer between the tasks (model.connector): no class relations.'
        return Findings('Class relations', TEXT, notes=[note])
    strongest = pd.concat(
        frame.loc[frame['weight'].abs().nlargest(PAIRS).index] for frame in pairs
    ).set_index('class')
    if len(pairs) == 1:
        strongest = strongest.drop(columns='run')
    everything = pd.concat(pairs, ignore_index=True)
    tables = [
        Table('class_relations', pd.DataFrame.from_dict(overall, orient='index'), 'Overall', 4),
        Table('class_pairs_strongest', strongest, 'The strongest pairs', 4),
        Table('class_pairs', everything, 'All pairs', 6, place='file'),
    ]
    return Findings('Class relations', TEXT, tables, panels)


def _pairs(
    relation: np.ndarray,
    confusion: np.ndarray | None,
    classes: Sequence[str],
    superclasses: Sequence[str] | None,
) -> pd.DataFrame:
    """Return a row for each pair of classes."""
    first, second = np.triu_indices(len(classes), 1)
    frame = pd.DataFrame(
        {
            'class': np.array(classes)[first],
            'and': np.array(classes)[second],
            'weight': relation[first, second],
        }
    )
    if confusion is not None:
        frame['teacher confuses'] = confusion[first, second]
        ranks = frame['teacher confuses'].rank(ascending=False, method='min')
        frame['rank there'] = ranks.astype('Int64')
    if superclasses is not None:
        groups = np.array(superclasses)
        frame['same superclass'] = groups[first] == groups[second]
    return frame


def _summary(frame: pd.DataFrame) -> dict[str, float]:
    """Return how weights go with what else is known of the pairs."""
    weight = frame['weight']
    found = {'mean size of a weight': weight.abs().mean()}
    if 'teacher confuses' in frame and weight.nunique() > 1:  # a layer may have learned nothing
        known = frame[['weight', 'teacher confuses']].dropna()
        of_teacher = "with teacher's confusions"
        found[f'correlation {of_teacher}'] = stats.pearsonr(*known.to_numpy().T).statistic
        found[f'rank correlation {of_teacher}'] = stats.spearmanr(*known.to_numpy().T).statistic
    if 'same superclass' in frame:
        inside, outside = (weight[frame['same superclass'] == same] for same in (True, False))
        found['mean weight in a superclass'] = inside.mean()
        found['between superclasses'] = outside.mean()
        larger = stats.mannwhitneyu(inside, outside).statistic
        found['heavier inside, of all comparisons'] = larger / len(inside) / len(outside)
    return found


def _heat_map(title: str, matrix: np.ndarray, names: Sequence[str]) -> Panel:
    def draw(axes: Axes) -> None:
        shown = matrix.copy()
        np.fill_diagonal(shown, np.nan)  # a class with itself would drown the rest
        limit = np.nanquantile(np.abs(shown), 0.995) or 1
        image = axes.imshow(shown, cmap=BALANCE, vmin=-limit, vmax=limit, interpolation='nearest')
        axes.grid(False)
        axes.spines[:].set_visible(True)
        if len(names) <= NAMED:
            axes.set_xticks(range(len(names)), [short(name) for name in names], rotation=90)
            axes.set_yticks(range(len(names)), [short(name) for name in names])
        else:
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_xlabel(f'{len(names)} classes, related ones side by side')
        axes.figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02).outline.set_visible(False)

    return Panel(title, draw, 4.4, 3.9)


def _beside(run: str, frame: pd.DataFrame) -> Panel:
    def draw(axes: Axes) -> None:
        groups = [(frame, GREY, '')]
        if 'same superclass' in frame:
            same = frame['same superclass']
            groups = [
                (frame[~same], GREY, 'other pairs'),
                (frame[same], COLORS[0], 'same superclass'),
            ]
        for part, color, label in groups:
            axes.plot(
                part['teacher confuses'],
                part['weight'],
                'o',
                color=color,
                ms=2.5 if len(frame) > 1000 else 4,
                mew=0,
                alpha=0.3 if color == GREY else 0.8,
                label=label,
                rasterized=True,
            )
        scale_logarithmically(axes.xaxis)
        axes.set_xlabel('probability that the teacher confuses the pair')
        axes.set_ylabel("the pair's FC weight")
        if len(groups) > 1:
            axes.legend(loc='best')

    return Panel(f'Pair by pair: {run}', draw, 4.2, 3.6)
