"""Similarity of a student to its teacher: measures of both networks' logits.

In float64. A number added to all logits of a sample changes none of them, as it changes no softmax.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def kl_divergence(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> float:
    """Return the mean divergence of the student from the teacher, KL(pT || pS), in nats.

    Args:
        student: Logits (N, C).
        teacher: Logits (N, C).
        temperature: What both are divided by, above 0.

    Examples:
        >>> kl_divergence(torch.tensor([[1., 2.]]), torch.tensor([[1., 2.]]))
        0.0
    """
    student, teacher = (
        (logits.double() / temperature).log_softmax(1) for logits in (student, teacher)
    )
    return (teacher.exp() * (teacher - student)).sum(1).mean().item()


def logit_correlation(student: Tensor, teacher: Tensor) -> float:
    """Return Pearson's correlation of both networks' logits, in [-1, 1].

    Over all samples and classes, the mean of each sample's logits taken off. NaN where one of the
    two tells no class from another.

    Args:
        student: Logits (N, C).
        teacher: Logits (N, C).

    Examples:
        >>> round(logit_correlation(torch.tensor([[1., 2., 6.]]), torch.tensor([[3., 5., 13.]])), 6)
        1.0
    """
    student, teacher = _centred(student), _centred(teacher)
    norms = student.norm() * teacher.norm()
    return ((student * teacher).sum() / norms).clamp(-1, 1).item()


def linear_cka(student: Tensor, teacher: Tensor) -> float:
    r"""Return linear centred kernel alignment, in [0, 1].

    Kornblith et al., 2019 (`arXiv 1905.00414 <https://arxiv.org/abs/1905.00414>`_, eq. 5): with the
    mean over the samples taken off, :math:`\|Y^T X\|_F^2 / (\|X^T X\|_F \|Y^T Y\|_F)`. It asks
    whether the two networks place the samples alike, up to a rotation of the logits and one scale.
    Over few samples, compared with the number of classes, it is high for any two networks.

    Args:
        student: Logits (N, C).
        teacher: Logits (N, C).

    Returns:
        NaN where one of the two networks gives all samples the same logits.

    Examples:
        >>> logits = torch.tensor([[1., 0.], [0., 1.], [2., 1.]])
        >>> round(linear_cka(logits, 3 * logits.flip(1)), 6)
        1.0
    """
    student, teacher = (_centred(logits) for logits in (student, teacher))
    student, teacher = student - student.mean(0), teacher - teacher.mean(0)
    cross = (teacher.T @ student).norm().square()
    own = (student.T @ student).norm() * (teacher.T @ teacher).norm()
    return (cross / own).clamp(max=1).item()


def class_by_class(
    measure: Callable[[Tensor, Tensor], float], student: Tensor, teacher: Tensor, labels: Tensor
) -> list[float]:
    """Return a measure over the samples of each class alone.

    Args:
        measure: From two networks' logits (n, C) to a number.
        student: Logits (N, C).
        teacher: Logits (N, C).
        labels: (N,) int64.

    Returns:
        C numbers; NaN for a class without samples.
    """
    found = []
    for label in range(student.shape[1]):
        of_class = labels == label
        alone = of_class.any()
        found.append(measure(student[of_class], teacher[of_class]) if alone else float('nan'))
    return found


def soft_confusion(logits: Tensor, labels: Tensor) -> Tensor:
    """Return how a network's probability is spread over the classes, for each true class.

    Args:
        logits: (N, C).
        labels: (N,) int64.

    Returns:
        (C, C) float64; row i is the mean of the probabilities over the samples of class i, and NaN
        for a class without samples.

    Examples:
        >>> soft_confusion(torch.zeros(2, 2), torch.tensor([0, 0])).tolist()
        [[0.5, 0.5], [nan, nan]]
    """
    probabilities = logits.double().softmax(1)
    totals = torch.zeros_like(probabilities[:1]).expand(logits.shape[1], -1)
    totals = totals.index_add(0, labels, probabilities)
    return totals / labels.bincount(minlength=logits.shape[1])[:, None]


def _centred(logits: Tensor) -> Tensor:
    logits = logits.double()
    return logits - logits.mean(1, keepdim=True)
