"""Explicit knowledge: how sure students and teachers are of the true class, and how rightly."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from aekt_mm.evaluation import (
    accuracy,
    calibration_error,
    negative_log_likelihood,
    reliability,
    target_confidence,
)

from .drawing import INK, colors, weighted_line
from .findings import Findings, Panel, Table
from .predictions import Predictions

#: Bins of the teacher's confidence, over which the student's is averaged.
BINS = 10

TEXT = (
    'The confidence in the true class is what explicit knowledge is about. On the diagonal the '
    'student is as sure as its teacher; below it is behind. Calibration asks something else: '
    'whether a network is right as often as it is sure of what it predicts; ECE is the mean '
    'distance from that (Guo et al., 2017).'
)


def explicit_knowledge(predictions: Predictions) -> Findings:
    """Compare the students' confidence in the true class with their teachers', and calibration.

    Args:
        predictions: Of the runs to compare.

    Returns:
        Tables by network and by sample; a picture of each student's confidence against the
        teacher's, one of all students', and the reliability diagram.
    """
    labels = predictions.labels
    networks = predictions.networks()
    calibration = {
        name: {
            'top-1, %': accuracy(logits, labels),
            'mean confidence': target_confidence(logits, labels).mean().item(),
            'ECE': calibration_error(logits, labels),
            'NLL, nats': negative_log_likelihood(logits, labels),
        }
        for name, logits in networks.items()
    }
    confidence = {
        run: [target_confidence(logits, labels).numpy() for logits in pair]
        for run, pair in predictions.pairs().items()
    }
    gaps = {run: _gap(student, teacher) for run, (student, teacher) in confidence.items()}
    samples = pd.DataFrame(
        {'label': labels.numpy()}
        | {
            f'confidence: {name}': target_confidence(logits, labels).numpy()
            for name, logits in networks.items()
        }
    )
    tables = [
        Table('calibration', pd.DataFrame.from_dict(calibration, orient='index'), 'Each network'),
        Table('confidence_samples', samples, 'Sample by sample', 4, place='file'),
    ]
    key = colors(predictions.students) | dict.fromkeys(
        set(networks) - set(predictions.students), INK
    )
    panels = []
    if confidence:
        frame = pd.DataFrame.from_dict(gaps, orient='index')
        tables.insert(0, Table('confidence', frame, "Student's and teacher's confidence"))
        panels.append(_following(confidence, key))
    panels.append(_diagram(predictions, key))
    panels += [
        _scatter(run, student, teacher, key[run]) for run, (student, teacher) in confidence.items()
    ]
    return Findings('Explicit knowledge', TEXT, tables, panels, key)


def _gap(student: np.ndarray, teacher: np.ndarray) -> dict[str, float]:
    spread = student.std() * teacher.std()
    return {
        'student, mean': student.mean(),
        'teacher, mean': teacher.mean(),
        'gap, mean': np.abs(student - teacher).mean(),
        'behind, % of samples': 100 * (student < teacher).mean(),
        'correlation': np.corrcoef(student, teacher)[0, 1] if spread > 0 else float('nan'),
    }


def _unit_square(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=(0, (4, 3)), alpha=0.6)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_box_aspect(1)


def _scatter(run: str, student: np.ndarray, teacher: np.ndarray, color: str) -> Panel:
    def draw(axes: Axes) -> None:
        _unit_square(axes)
        many = len(student) > 2000
        axes.plot(
            teacher,
            student,
            'o',
            color=color,
            ms=1.5 if many else 3,
            mew=0,
            alpha=0.25 if many else 0.45,
            rasterized=True,
        )
        axes.set_xlabel("teacher's confidence in the true class")
        axes.set_ylabel("student's")

    return Panel(f'Sample by sample: {run}', draw, 3.6, 3.6)


def _following(confidence: dict[str, list[np.ndarray]], key: dict[str, str]) -> Panel:
    def draw(axes: Axes) -> None:
        _unit_square(axes)
        for run, (student, teacher) in confidence.items():
            which = np.minimum((teacher * BINS).astype(int), BINS - 1)
            counts = np.bincount(which, minlength=BINS)
            used = counts > 0
            x, y = (
                np.bincount(which, values, BINS)[used] / counts[used]
                for values in (teacher, student)
            )
            weighted_line(axes, x, y, counts[used], key[run])
        axes.set_xlabel("teacher's confidence, by tenths")
        axes.set_ylabel("student's mean")

    return Panel('How far students follow', draw, 3.6, 3.6)


def _diagram(predictions: Predictions, key: dict[str, str]) -> Panel:
    def draw(axes: Axes) -> None:
        _unit_square(axes)
        for name, logits in predictions.networks().items():
            bins = reliability(logits, predictions.labels)
            used = bins.count > 0
            count, confidence, accuracy = (part[used].numpy() for part in bins)
            weighted_line(axes, confidence, accuracy, count, key[name])
        axes.set_xlabel('confidence in the prediction')
        axes.set_ylabel('accuracy')

    return Panel('Reliability', draw, 3.6, 3.6)
