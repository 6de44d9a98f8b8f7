"""What every distillation loss shares: temperature, reduction, soft targets and bad input."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .decomposition import decompose

#: How many classes a sample's soft target may mix. Mixup and CutMix mix two.
MAX_MIXED_CLASSES = 2

#: A sample's teacher/student confidence ratio counts as at most this in the logged mean.
MAX_LOGGED_RATIO = 1000.0


def bernoulli_kl(student_margin: Tensor, teacher_margin: Tensor) -> Tensor:
    r"""Return :math:`KL(Bern(\sigma(m^T)) \| Bern(\sigma(m^S)))`, elementwise and finite.

    Examples:
        >>> bernoulli_kl(torch.tensor([0., -1e4]), torch.tensor([0., 1e4]))
        tensor([    0., 10000.])
    """
    return teacher_margin.sigmoid() * (
        F.logsigmoid(teacher_margin) - F.logsigmoid(student_margin)
    ) + (-teacher_margin).sigmoid() * (
        F.logsigmoid(-teacher_margin) - F.logsigmoid(-student_margin)
    )


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


class DistillLoss(nn.Module):
    """Base of the logit losses: the mean over the batch of terms of the decomposed logits.

    A subclass defines :meth:`terms`; this class decomposes the logits, multiplies by the squared
    temperature (Hinton et al. 2015, section 2: it keeps the gradients' scale) and averages.

    Args:
        temperature: What both networks' logits are divided by, above 0.

    Raises:
        ValueError: If the temperature is not a finite number above 0.
    """

    def __init__(self, temperature: float = 4.0) -> None:
        super().__init__()
        self.temperature = check_range('temperature', temperature, 0, inclusive=False)
        self._mixing_checked = False

    def terms(
        self, student_margin: Tensor, teacher_margin: Tensor, nontarget_kl: Tensor
    ) -> dict[str, Tensor]:
        """Return the loss's parts a sample, before the factor of the squared temperature.

        Args:
            student_margin: (N,), see :func:`~aekt_mm.models.losses.decompose`.
            teacher_margin: (N,), without gradient.
            nontarget_kl: (N,), at least 0.

        Returns:
            Tensors (N,) under names that contain ``loss``; what is minimised is their sum.
        """
        raise NotImplementedError

    def forward(
        self, student_logits: Tensor, teacher_logits: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        """Compute the loss of a batch.

        Args:
            student_logits: (N, C), floating point.
            teacher_logits: (N, C), floating point.
            target: (N,) integer class indices; or (N, C) floating-point shares of the classes
                (mixup, cutmix), of which at most ``MAX_MIXED_CLASSES`` a sample are not zero.
                The loss of a mixture is the mixture of the losses of its classes.

        Returns:
            Scalars: the parts of the loss (names with ``loss``), and as a statistic without
            gradient ``confidence_ratio``, the mean over the samples of the teacher's probability
            of the target over the student's (a sample counts at most ``MAX_LOGGED_RATIO``).

        Raises:
            ValueError: If shapes do not fit, or a soft target mixes too many classes or has shares
                that are negative, NaN or do not sum to 1. On a GPU only the first soft targets are
                looked at: to look makes a step wait.
            IndexError: If a label is not in [0, C). On a GPU labels are not looked at, since that
                would make every step wait: check the dataset's beforehand.
        """
        _check_shapes(student_logits, teacher_logits, target)
        if target.device.type == 'cpu' or (target.ndim == 2 and not self._mixing_checked):
            _check_values(target, classes=student_logits.shape[1])
            self._mixing_checked = target.ndim == 2
        if target.ndim == 1:
            return self._of_class(student_logits, teacher_logits, target.long())
        shares, classes = target.topk(MAX_MIXED_CLASSES, dim=1)
        mixed = [
            self._of_class(student_logits, teacher_logits, classes[:, k], shares[:, k])
            for k in range(MAX_MIXED_CLASSES)
        ]
        return {name: sum(part[name] for part in mixed) for name in mixed[0]}

    def _of_class(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        target: Tensor,
        share: Tensor | None = None,
    ) -> dict[str, Tensor]:
        margins = decompose(student_logits, teacher_logits, target, self.temperature)
        losses = {name: term * self.temperature**2 for name, term in self.terms(*margins).items()}
        with torch.no_grad():
            student_margin, teacher_margin, _ = margins
            ratio = (F.logsigmoid(teacher_margin) - F.logsigmoid(student_margin)).exp()
            losses['confidence_ratio'] = ratio.clamp_(max=MAX_LOGGED_RATIO)
        return {
            name: (value if share is None else value * share).mean()
            for name, value in losses.items()
        }


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
def _check_values(target: Tensor, classes: int) -> None:
    if not len(target):
        return
    if target.ndim == 2:
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
            shares = shares[shares != 0].tolist()
            raise ValueError(
                f'a soft target must have shares of at least 0 that sum to 1, but has {shares}'
            )
        return
    low, high = target.aminmax()
    if low < 0 or high >= classes:
        wrong = int(low if low < 0 else high)
        raise IndexError(f'label {wrong} is out of range: the logits have {classes} classes')
