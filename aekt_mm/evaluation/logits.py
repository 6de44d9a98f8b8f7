"""Measures of a student's logits, alone and beside its teacher's.

Functions of the logits of a whole data set, computed in float64. Which of them a study reports,
:func:`measure` says.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

#: Bins of the calibration error (Guo et al., 2017).
BINS = 15


def accuracy(logits: Tensor, labels: Tensor, k: int = 1) -> float:
    """Return in what percentage of the samples the label is among the k largest logits.

    Args:
        logits: (N, C).
        labels: (N,) int64.
        k: At most C.

    Examples:
        >>> accuracy(torch.tensor([[0., 1.], [0., 1.]]), torch.tensor([0, 1]))
        50.0
    """
    hits = logits.topk(k, dim=1).indices == labels[:, None]
    return 100 * hits.any(1).double().mean().item()


def agreement(student: Tensor, teacher: Tensor) -> float:
    """Return in what percentage of the samples two networks predict the same class.

    Args:
        student: Logits (N, C).
        teacher: Logits (N, C).
    """
    return 100 * (student.argmax(1) == teacher.argmax(1)).double().mean().item()


def target_confidence(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the probability of each sample's true class, (N,) float64: explicit knowledge.

    Args:
        logits: (N, C).
        labels: (N,) int64.
    """
    return logits.double().softmax(1).gather(1, labels[:, None]).squeeze(1)


def confidence_gap(student: Tensor, teacher: Tensor, labels: Tensor) -> float:
    """Return the mean distance of the two probabilities of the true class, in [0, 1].

    It is what explicit knowledge is about: 0 where the student is as confident in the true class
    as its teacher, sample by sample.

    Args:
        student: Logits (N, C).
        teacher: Logits (N, C).
        labels: (N,) int64.
    """
    gap = target_confidence(student, labels) - target_confidence(teacher, labels)
    return gap.abs().mean().item()


def negative_log_likelihood(logits: Tensor, labels: Tensor) -> float:
    """Return the mean cross-entropy, in nats.

    Args:
        logits: (N, C).
        labels: (N,) int64.
    """
    return F.cross_entropy(logits.double(), labels).item()


class Reliability(NamedTuple):
    """What a reliability diagram shows: (bins,) float64 each, NaN where a bin is empty."""

    count: Tensor  # type: ignore[assignment]  # a tuple's method of this name is not needed
    confidence: Tensor
    accuracy: Tensor


def reliability(logits: Tensor, labels: Tensor, bins: int = BINS) -> Reliability:
    """Return number, mean confidence and accuracy of the samples in bins of confidence.

    Args:
        logits: (N, C).
        labels: (N,) int64.
        bins: How many, equally wide; a confidence on their border belongs to the lower one.

    Returns:
        Of each bin the number of samples, the mean confidence in the prediction and the accuracy,
        both in [0, 1].

    Examples:
        >>> reliability(torch.tensor([[0., 0.], [0., 0.]]), torch.tensor([0, 1]), bins=2).accuracy
        tensor([0.5000,    nan], dtype=torch.float64)
    """
    confidence, prediction = logits.double().softmax(1).max(1)
    which = (confidence * bins).ceil().long().clamp(1, bins) - 1

    def total(values: Tensor) -> Tensor:
        return torch.zeros(bins, dtype=torch.float64).index_add(0, which, values)

    count = total(torch.ones_like(confidence))
    right = (prediction == labels).double()
    return Reliability(count, total(confidence) / count, total(right) / count)


def calibration_error(logits: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Return the expected calibration error (Guo et al., 2017, eq. 5), in [0, 1].

    The mean distance of confidence in the prediction and accuracy, over equally wide bins of
    confidence, each weighted by its number of samples.

    Args:
        logits: (N, C).
        labels: (N,) int64.
        bins: How many.

    Examples:
        >>> calibration_error(torch.tensor([[0., 0.], [0., 0.]]), torch.tensor([0, 1]))
        0.0
    """
    found = reliability(logits, labels, bins)
    gap = (found.confidence - found.accuracy).abs().nan_to_num()
    return (found.count * gap).sum().item() / len(labels)


def measure(student: Tensor, labels: Tensor, teacher: Tensor | None = None) -> dict[str, float]:
    """Return the measures of a student that a study reports.

    Args:
        student: Logits (N, C).
        labels: (N,) int64.
        teacher: Logits (N, C), or None where there is no teacher to compare with.

    Returns:
        ``top1``, ``top5`` (where there are more than 5 classes) and ``agreement`` in percent,
        ``confidence_gap``, ``nll`` in nats, ``calibration_error``.
    """
    found = {'top1': accuracy(student, labels)}
    if student.shape[1] > 5:
        found['top5'] = accuracy(student, labels, k=5)
    if teacher is not None:
        found['agreement'] = agreement(student, teacher)
        found['confidence_gap'] = confidence_gap(student, teacher, labels)
    found['nll'] = negative_log_likelihood(student, labels)
    found['calibration_error'] = calibration_error(student, labels)
    return found
