"""Explicit terms of the AEKT loss: what pulls the student's confidence in the target class.

Each is a function of the student's and the teacher's target margins, both (N,), that returns
(N,); with p the probability of the target class, p = sigmoid(margin). The published summary of
AEKT fixes the weighting by the teacher/student ratio and leaves its form open; the forms here are
this project's reading of it and what to compare it with.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from .distill_loss import bernoulli_kl
from .logit_loss import check_range

BASES = ('kl', 'log')


class RatioWeighted(nn.Module):
    r"""A base term weighted by the teacher/student confidence ratio, sample by sample.

    :math:`w = p^T / p^S`, clipped at ``max_weight`` and held constant in the gradient. With
    ``base='kl'`` the term is :math:`w\, KL(Bern(p^T) \| Bern(p^S))` and its pull on the student's
    margin :math:`w (p^T - p^S)`: it vanishes where the two agree. With ``base='log'`` it is
    :math:`-w \log p^S` with pull :math:`w (1 - p^S)`, the gradient of the plain ratio where
    nothing is clipped, which never vanishes.

    Args:
        max_weight: The largest weight, above 0; None for no limit, under which training can
            diverge (it did: see the documentation).
        base: 'kl' or 'log'.

    Raises:
        ValueError: If an option is not one of these.

    Examples:
        >>> import torch
        >>> RatioWeighted()(torch.tensor([0., 2.]), torch.tensor([0., 2.]))
        tensor([0., 0.])
    """

    def __init__(self, max_weight: float | None = 2.0, base: str = 'kl') -> None:
        super().__init__()
        if base not in BASES:
            raise ValueError(f'base must be one of {BASES}, but is {base!r}')
        if max_weight is not None:
            max_weight = check_range('max_weight', max_weight, 0, inclusive=False)
        self.max_weight = max_weight
        self.base = base

    def forward(self, student_margin: Tensor, teacher_margin: Tensor) -> Tensor:
        """Compute the term of each sample, (N,)."""
        log_student = F.logsigmoid(student_margin)
        weight = (F.logsigmoid(teacher_margin.detach()) - log_student.detach()).exp()
        if self.max_weight is not None:
            weight = weight.clamp(max=self.max_weight)
        if self.base == 'log':
            return -weight * log_student
        return weight * bernoulli_kl(student_margin, teacher_margin)


class LogRatio(nn.Module):
    r"""Half the squared log ratio, :math:`\frac12 (\log p^T - \log p^S)^2`.

    Its pull, :math:`\log(p^T / p^S) (1 - p^S)`, is zero where the two agree and negative where
    the student overshoots.
    """

    def forward(self, student_margin: Tensor, teacher_margin: Tensor) -> Tensor:
        """Compute the term of each sample, (N,)."""
        return (F.logsigmoid(teacher_margin) - F.logsigmoid(student_margin)).square() / 2


class GapWeighted(nn.Module):
    r"""Cross-entropy weighted by the confidence gap, :math:`-|p^T - p^S| \log p^S`.

    The weight is held constant in the gradient: the pull is :math:`|p^T - p^S| (1 - p^S)`.
    """

    def forward(self, student_margin: Tensor, teacher_margin: Tensor) -> Tensor:
        """Compute the term of each sample, (N,)."""
        gap = (teacher_margin.sigmoid() - student_margin.detach().sigmoid()).abs()
        return -gap * F.logsigmoid(student_margin)


class TeacherWeighted(nn.Module):
    r"""Cross-entropy weighted by the teacher's confidence, :math:`-p^T \log p^S`.

    Not adaptive in the student: the pull is :math:`p^T (1 - p^S)`.
    """

    def forward(self, student_margin: Tensor, teacher_margin: Tensor) -> Tensor:
        """Compute the term of each sample, (N,)."""
        return -teacher_margin.sigmoid() * F.logsigmoid(student_margin)


class TargetKL(nn.Module):
    r"""DKD's target term, :math:`KL(Bern(p^T) \| Bern(p^S))`, for comparison."""

    def forward(self, student_margin: Tensor, teacher_margin: Tensor) -> Tensor:
        """Compute the term of each sample, (N,)."""
        return bernoulli_kl(student_margin, teacher_margin)
