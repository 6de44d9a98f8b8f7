"""Similarity of students to their teachers, overall and class by class."""

import pandas as pd
from matplotlib.axes import Axes

from aekt_mm.evaluation import (
    agreement,
    class_by_class,
    kl_divergence,
    linear_cka,
    logit_correlation,
)

from .drawing import NAMED_CLASSES, class_dots, colors
from .findings import Findings, Panel, Table
from .predictions import Predictions

#: What is measured of student and teacher: its name, and whether classes stand out that have much
#: of it.
MEASURES = {
    'agreement, %': (agreement, False),
    'KL(teacher, student), nats': (kl_divergence, True),
    'correlation of logits': (logit_correlation, False),
    'linear CKA': (linear_cka, False),
}

TEXT = (
    "Agreement: how often both predict the same class. KL: how far the student's probabilities "
    "are from the teacher's; 0 where they are equal. Correlation: of their logits, each sample's "
    'mean taken off. Linear CKA (Kornblith et al., 2019): whether they place the samples alike, up '
    'to a rotation and a scale; over the few samples of a class it is high for any two networks, '
    'so that there only differences between students say something.'
)


def similarity(predictions: Predictions) -> Findings:
    """Compare each student with its teacher.

    Args:
        predictions: Of the runs to compare.

    Returns:
        A table of the measures by run, one of them by class and run, and a picture of each.
    """
    pairs = predictions.pairs()
    overall = {
        run: {name: measure(*pair) for name, (measure, _) in MEASURES.items()}
        for run, pair in pairs.items()
    }
    by_class = {
        name: pd.DataFrame(
            {
                run: class_by_class(measure, *pair, predictions.labels)
                for run, pair in pairs.items()
            },
            index=predictions.classes,
        )
        for name, (measure, _) in MEASURES.items()
    }
    if not pairs:
        return Findings('Similarity', TEXT)
    classes = pd.concat(by_class, axis=1)
    classes.columns = [f'{measure}: {run}' for measure, run in classes.columns]
    tables = [
        Table('similarity', pd.DataFrame.from_dict(overall, orient='index'), 'Overall'),
        Table('similarity_classes', classes, 'Class by class', place='folded'),
    ]
    key = colors(predictions.students)
    panels = [_panel(name, values, key, MEASURES[name][1]) for name, values in by_class.items()]
    return Findings('Similarity', TEXT, tables, panels, key)


def _panel(name: str, values: pd.DataFrame, key: dict[str, str], highest: bool) -> Panel:
    def draw(axes: Axes) -> None:
        class_dots(axes, values, key, highest)

    named = min(len(values), NAMED_CLASSES)
    which = f'the {named} classes with the {"most" if highest else "least"}'
    title = f'{name}: {which if named < len(values) else "by class"}'
    return Panel(title, draw, height=max(2.2, 0.9 + 0.2 * named))
