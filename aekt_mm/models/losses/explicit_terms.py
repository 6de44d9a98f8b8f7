"""Explicit terms of the AEKT loss: the pull on the student's confidence in the target.

Each is a function of the student's and the teacher's target margins, both (N,), that returns
(N,); with p the probability of the target class, p = sigmoid(margin). The published summary of
AEKT fixes the weighting by the teacher/student ratio and leaves its form open; the forms here are
this project's reading of it and what to compare it with.

A term's ``pull`` is minus its derivative in the student's margin: how hard it draws the student's
confidence up. A term may leave it out; then the loss does not log the weight it applies.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

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
        if self.max_weight is None and self.base == 'kl':
            return _RatioWeightedKL.apply(student_margin, teacher_margin)
        weight = self._weight(student_margin, teacher_margin)
        if self.base == 'log':
            return -weight * F.logsigmoid(student_margin)
        return weight * bernoulli_kl(student_margin, teacher_margin)

    def pull(self, student_margin: Tensor, teacher_margin: Tensor) -> Tensor:
        """Compute the pull on each sample's margin, (N,)."""
        weight = self._weight(student_margin, teacher_margin)
        if self.base == 'log':
            return weight * (-student_margin).sigmoid()
        return weight * (teacher_margin.sigmoid() - student_margin.sigmoid())

    def _weight(self, student_margin: Tensor, teacher_margin: Tensor) -> Tensor:
        weight = (F.logsigmoid(teacher_margin) - F.logsigmoid(student_margin)).detach().exp()
        return weight if self.max_weight is None else weight.clamp(max=self.max_weight)


class RatioPull(nn.Module):
    r"""Pull by how many times the teacher is ahead, :math:`p^T / p^S - 1`.

    The counterpart, in the target class, of what decoupling does to the others: KL's gradient
    there, :math:`p^S_i - p^T_i`, is divided by each network's non-target mass; here the target's,
    :math:`p^S - p^T`, is divided by the student's :math:`p^S`. With the student's margin :math:`m`
    it is the derivative of a convex function, least exactly where the two agree, and 0 there:

    .. math:: E = p^T (e^{-m} - e^{-m^T}) + (1 - p^T) (m - m^T)

    From where the pull reaches ``max_pull`` the function goes on as its tangent, so that a student
    far behind pulls no harder: of 100 classes at temperature 4 the ratio can be 30.

    Args:
        max_pull: The largest pull, above 0.

    Raises:
        ValueError: If it is not a finite number above 0.

    Examples:
        >>> import torch
        >>> RatioPull(max_pull=2.0)(torch.tensor([0., -9.]), torch.tensor([0., 9.]))
        tensor([ 0.0000, 18.6121])
    """

    def __init__(self, max_pull: float = 1.0) -> None:
        super().__init__()
        self.max_pull = check_range('max_pull', max_pull, 0, inclusive=False)

    def forward(self, student_margin: Tensor, teacher_margin: Tensor) -> Tensor:
        """Compute the term of each sample, (N,)."""
        # at the corner pT / pS = 1 + max_pull, and with x = -log pS its margin is -log(e^x - 1)
        x = math.log1p(self.max_pull) - F.logsigmoid(teacher_margin)
        corner = -x - (-(-x).expm1()).log()
        margin = student_margin.clamp(min=corner)
        # pT exp(-m) and pT exp(-mT) = 1 - pT, neither of which overflows from the corner on
        ahead = (F.logsigmoid(teacher_margin) - margin).exp() - (-teacher_margin).sigmoid()
        curve = ahead + (-teacher_margin).sigmoid() * (margin - teacher_margin)
        return curve + self.max_pull * F.relu(corner - student_margin)

    def pull(self, student_margin: Tensor, teacher_margin: Tensor) -> Tensor:
        """Compute the pull on each sample's margin, (N,)."""
        log_ratio = F.logsigmoid(teacher_margin) - F.logsigmoid(student_margin)
        return log_ratio.expm1().clamp(max=self.max_pull)


class _RatioWeightedKL(torch.autograd.Function):
    """The unlimited weight times the divergence, finite wherever their product is.

    Behind the teacher by far, the weight can be beyond all numbers and the divergence below: with
    p the smaller, w KL = (pT² / pS) (KL / pT), whose factors are neither.
    """

    @staticmethod
    def forward(ctx: Any, student_margin: Tensor, teacher_margin: Tensor) -> Tensor:
        log_student, log_teacher = F.logsigmoid(student_margin), F.logsigmoid(teacher_margin)
        gap = log_teacher - log_student
        # (1 - pT) (log(1 - pT) - log(1 - pS)) / pT, where pT rounds away: pS / pT - 1
        rest = bernoulli_kl(student_margin, teacher_margin) / teacher_margin.sigmoid() - gap
        tiny = log_teacher < math.log(torch.finfo(gap.dtype).eps)
        rest = torch.where(tiny, torch.expm1(-gap), rest)
        behind, factor = gap > 1, (2 * log_teacher - log_student).exp()
        weight = gap.exp()
        ctx.save_for_backward(
            torch.where(
                behind,
                factor * torch.expm1(-gap),
                weight * (student_margin.sigmoid() - teacher_margin.sigmoid()),
            )
        )
        near = weight * bernoulli_kl(student_margin, teacher_margin)
        return torch.where(behind, factor * (gap + rest), near)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return grad * slope, None


class LogRatio(nn.Module):
    r"""Half the squared log ratio, :math:`\frac12 (\log p^T - \log p^S)^2`.

    Its pull, :math:`\log(p^T / p^S) (1 - p^S)`, is zero where the two agree and negative where
    the student overshoots.
    """

    def forward(self, student_margin: Tensor, teacher_margin: Tensor) -> Tensor:
        """Compute the term of each sample, (N,)."""
        return (F.logsigmoid(teacher_margin) - F.logsigmoid(student_margin)).square() / 2

    def pull(self, student_margin: Tensor, teacher_margin: Tensor) -> Tensor:
        """Compute the pull on each sample's margin, (N,)."""
        log_ratio = F.logsigmoid(teacher_margin) - F.logsigmoid(student_margin)
        return log_ratio * (-student_margin).sigmoid()


class GapWeighted(nn.Module):
    r"""Cross-entropy weighted by the confidence gap, :math:`-|p^T - p^S| \log p^S`.

    The weight is held constant in the gradient: the pull is :math:`|p^T - p^S| (1 - p^S)`.
    """

    def forward(self, student_margin: Tensor, teacher_margin: Tensor) -> Tensor:
        """Compute the term of each sample, (N,)."""
        gap = (teacher_margin.sigmoid() - student_margin.detach().sigmoid()).abs()
        return -gap * F.logsigmoid(student_margin)

    def pull(self, student_margin: Tensor, teacher_margin: Tensor) -> Tensor:
        """Compute the pull on each sample's margin, (N,)."""
        gap = (teacher_margin.sigmoid() - student_margin.sigmoid()).abs()
        return gap * (-student_margin).sigmoid()


class TeacherWeighted(nn.Module):
    r"""Cross-entropy weighted by the teacher's confidence, :math:`-p^T \log p^S`.

    Not adaptive in the student: the pull is :math:`p^T (1 - p^S)`.
    """

    def forward(self, student_margin: Tensor, teacher_margin: Tensor) -> Tensor:
        """Compute the term of each sample, (N,)."""
        return -teacher_margin.sigmoid() * F.logsigmoid(student_margin)

    def pull(self, student_margin: Tensor, teacher_margin: Tensor) -> Tensor:
        """Compute the pull on each sample's margin, (N,)."""
        return teacher_margin.sigmoid() * (-student_margin).sigmoid()


class TargetKL(nn.Module):
    r"""DKD's target term, :math:`KL(Bern(p^T) \| Bern(p^S))`, for comparison."""

    def forward(self, student_margin: Tensor, teacher_margin: Tensor) -> Tensor:
        """Compute the term of each sample, (N,)."""
        return bernoulli_kl(student_margin, teacher_margin)

    def pull(self, student_margin: Tensor, teacher_margin: Tensor) -> Tensor:
        """Compute the pull on each sample's margin, (N,)."""
        return teacher_margin.sigmoid() - student_margin.sigmoid()
