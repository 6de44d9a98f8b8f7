"""The base of the losses on logits: input checks, transform, soft targets, mean."""

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from .precision import no_autocast, widened

#: How many classes a sample's soft target may mix. Mixup and CutMix mix two.
MAX_MIXED_CLASSES = 2


def check_range(name: str, value: float, lowest: float, inclusive: bool = True) -> float:
    """Return ``value`` as a float if it is finite and not below ``lowest``.

    Raises:
        ValueError: If it is not; the message names the option, the value and what would be right.
    """
    above = isinstance(value, int | float) and (value >= lowest if inclusive else value > lowest)
    if isinstance(value, bool) or not above or not math.isfinite(value):
        bound = f'of at least {lowest:g}' if inclusive else f'above {lowest:g}'
        raise ValueError(f'{name} must be a finite number {bound}, but is {value!r}')
    return float(value)


def built(part: Any) -> Any:
    """Build a part of a loss where it is a config; the losses need nothing but torch elsewhere."""
    if not isinstance(part, dict):
        return part
    from aekt_mm.registry import MODELS, build

    return build(MODELS, part)


class LogitLoss(nn.Module):
    """Base of the losses on logits.

    A subclass defines :meth:`of_samples`, the loss of each sample from whole logits, or where
    samples of a batch are coupled :meth:`of_batch`. What sees the decomposed logits alone is a
    :class:`~aekt_mm.models.losses.DistillLoss`. Everything is computed in float32, or wider where
    the logits are, also under autocast.

    Args:
        transform: What both networks' logits go through first, with gradient: a config, or any
            function from (N, C) to (N, C), such as
            :class:`~aekt_mm.models.losses.LogitStandardization`. None leaves them as they are.
    """

    def __init__(self, transform: dict | Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.transform = built(transform)
        self._mixing_checked = False

    def forward(
        self, student_logits: Tensor, teacher_logits: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        """Compute the loss of a batch.

        Args:
            student_logits: (N, C), floating point.
            teacher_logits: (N, C), floating point; no gradient goes to them.
            target: (N,) integer class indices; or (N, C) floating-point shares of the classes
                (mixup, cutmix), of which at most ``MAX_MIXED_CLASSES`` a sample are not zero.
                The loss of a mixture is the mixture of the losses of its classes.

        Returns:
            The parts of the loss as scalars (names with ``loss``), and statistics without gradient.

        Raises:
            ValueError: If shapes do not fit, or a soft target mixes too many classes or has shares
                that are negative, NaN or do not sum to 1. On a GPU only the first soft targets are
                looked at: to look makes a step wait.
            IndexError: If a label that the loss looks at is not in [0, C). On a GPU or in a
                compiled step it is their own error: check the dataset's beforehand.
        """
        _check_shapes(student_logits, teacher_logits, target)
        soft = target.ndim == 2
        if soft and (target.device.type == 'cpu' or not self._mixing_checked):
            _check_shares(target)
            self._mixing_checked = True
        with no_autocast(student_logits):
            student_logits = widened(student_logits)
            teacher_logits = widened(teacher_logits.detach())
            if self.transform is not None:
                student_logits = self.transform(student_logits)
                teacher_logits = self.transform(teacher_logits)
            try:
                return self.of_batch(
                    student_logits, teacher_logits, target if soft else target.long()
                )
            except RuntimeError:  # to look at every batch's labels costs a tenth of a small loss
                if not soft and target.device.type == 'cpu':
                    _check_labels(target, classes=student_logits.shape[1])
                raise

    def of_batch(
        self, student_logits: Tensor, teacher_logits: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        """Return the loss's parts: the means of :meth:`of_samples`, of each class of a mixture.

        Args:
            student_logits: (N, C), float32 or wider, transformed.
            teacher_logits: (N, C), as the student's.
            target: (N,) int64, or class shares (N, C).
        """
        if target.ndim == 1:
            losses = self.of_samples(student_logits, teacher_logits, target)
            return {name: value.mean() for name, value in losses.items()}
        shares, classes = target.topk(MAX_MIXED_CLASSES, dim=1)
        mixed = [
            self.of_samples(student_logits, teacher_logits, classes[:, k])
            for k in range(MAX_MIXED_CLASSES)
        ]
        return {
            name: reduce(
                torch.add, ((part[name] * shares[:, k]).mean() for k, part in enumerate(mixed))
            )
            for name in mixed[0]
        }

    def of_samples(
        self, student_logits: Tensor, teacher_logits: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        """Return the loss's parts and statistics of each sample.

        Args:
            student_logits: (N, C), float32 or wider, transformed.
            teacher_logits: (N, C), as the student's.
            target: (N,) int64.

        Returns:
            Tensors (N,); those under names with ``loss`` are minimised, others are logged.
        """
        raise NotImplementedError


def _check_shapes(student_logits: Tensor, teacher_logits: Tensor, target: Tensor) -> None:
    shape = tuple(student_logits.shape)
    if len(shape) != 2 or shape[1] < 2:
        raise ValueError(f'student_logits must be (N, C) with C of at least 2, but are {shape}')
    if teacher_logits.shape != student_logits.shape:
        raise ValueError(
            f'teacher_logits are {tuple(teacher_logits.shape)}, but student_logits are {shape}: '
            'teacher and student must have the same classes'
        )
    soft = target.is_floating_point()
    if target.shape != (student_logits.shape if soft else student_logits.shape[:1]):
        raise ValueError(
            f'target must be (N,) class indices or (N, C) class shares for logits {shape}, but is '
            f'{target.dtype} {tuple(target.shape)}'
        )


@torch.compiler.disable  # what it raises depends on values
def _check_shares(target: Tensor) -> None:
    if not len(target):
        return
    mixed = int(target.count_nonzero(dim=1).max())
    if mixed > MAX_MIXED_CLASSES:
        raise ValueError(
            f'a soft target mixes {mixed} classes, but at most {MAX_MIXED_CLASSES} are '
            'supported: mixup and cutmix mix two; label smoothing belongs to the cross-entropy '
            "of the student's head"
        )
    sums = target.sum(dim=1)
    # negated, so that NaN is wrong; half precision rounds shares
    wrong = ~((target >= 0).all(dim=1) & ((sums - 1).abs() <= 1e-2))
    if wrong.any():
        shares = target[wrong][0]
        raise ValueError(
            'a soft target must have shares of at least 0 that sum to 1, but has '
            f'{shares[shares != 0].tolist()}'
        )


def _check_labels(target: Tensor, classes: int) -> None:
    wrong = target[(target < 0) | (target >= classes)]
    if len(wrong):
        raise IndexError(
            f'label {wrong[0].item()} is out of range: the logits have {classes} classes'
        )
