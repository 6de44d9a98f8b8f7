"""The base of losses that see three numbers a sample: DKD, AEKT and their like."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .decomposition import decompose
from .tempered_loss import TemperedLoss

#: A sample's teacher/student confidence ratio counts as at most this in the logged mean.
MAX_LOGGED_RATIO = 1000.0


def bernoulli_kl(student_margin: Tensor, teacher_margin: Tensor) -> Tensor:
    r"""Return :math:`KL(Bern(\sigma(m^T)) \| Bern(\sigma(m^S)))`, elementwise and finite.

    Examples:
        >>> import torch
        >>> bernoulli_kl(torch.tensor([0., -1e4]), torch.tensor([0., 1e4]))
        tensor([    0., 10000.])
    """
    return _BernoulliKL.apply(student_margin, teacher_margin)


class _BernoulliKL(torch.autograd.Function):
    """Its gradient is one difference, where the formula's would be a dozen operations."""

    @staticmethod
    def forward(ctx: Any, student_margin: Tensor, teacher_margin: Tensor) -> Tensor:
        ctx.save_for_backward(student_margin, teacher_margin)
        return teacher_margin.sigmoid() * (
            F.logsigmoid(teacher_margin) - F.logsigmoid(student_margin)
        ) + (-teacher_margin).sigmoid() * (
            F.logsigmoid(-teacher_margin) - F.logsigmoid(-student_margin)
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        student_margin, teacher_margin = ctx.saved_tensors
        teacher, rest = teacher_margin.sigmoid(), (-teacher_margin).sigmoid()
        grad_teacher = None
        if ctx.needs_input_grad[1]:
            grad_teacher = grad * teacher * rest * (teacher_margin - student_margin)
        # the difference of the probabilities, exact also where both are almost 1
        difference = rest * student_margin.sigmoid() - teacher * (-student_margin).sigmoid()
        return grad * difference, grad_teacher


def confidence_ratio(student_margin: Tensor, teacher_margin: Tensor) -> Tensor:
    """Return the teacher's probability of the target over the student's, (N,), as a statistic.

    Without gradient; a sample counts as at most ``MAX_LOGGED_RATIO``.
    """
    log_ratio = F.logsigmoid(teacher_margin.detach()) - F.logsigmoid(student_margin.detach())
    return log_ratio.exp().clamp_(max=MAX_LOGGED_RATIO)


class DistillLoss(TemperedLoss):
    """Base of the losses on decomposed logits: the mean over the batch of terms of them.

    A subclass defines :meth:`terms`; this class decomposes the logits and multiplies by the squared
    temperature (Hinton et al. 2015, section 2: it keeps the gradients' scale). Beside the parts of
    the loss it logs ``confidence_ratio``, the mean over the samples of the teacher's probability
    of the target over the student's (a sample counts at most ``MAX_LOGGED_RATIO``).

    Args:
        temperature: See :class:`~aekt_mm.models.losses.TemperedLoss`.
        transform: See :class:`~aekt_mm.models.losses.LogitLoss`.
    """

    def terms(
        self, student_margin: Tensor, teacher_margin: Tensor, nontarget_kl: Tensor
    ) -> dict[str, Tensor]:
        """Return the loss's parts a sample, before the factor of the squared temperature.

        Args:
            student_margin: (N,), see :func:`~aekt_mm.models.losses.decompose`.
            teacher_margin: (N,), without gradient unless the temperature learns.
            nontarget_kl: (N,), at least 0.

        Returns:
            Tensors (N,) under names that contain ``loss``; what is minimised is their sum.
        """
        raise NotImplementedError

    def statistics(self, student_margin: Tensor, teacher_margin: Tensor) -> dict[str, Tensor]:
        """Return statistics to log, (N,) without gradient; their means are logged.

        Args:
            student_margin: (N,).
            teacher_margin: (N,).
        """
        return {'confidence_ratio': confidence_ratio(student_margin, teacher_margin)}

    def at_temperature(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        target: Tensor,
        temperature: float | Tensor,
    ) -> dict[str, Tensor]:
        """See :meth:`TemperedLoss.at_temperature`."""
        margins = decompose(student_logits, teacher_logits, target, temperature)
        square = temperature * temperature
        losses = {name: term * square for name, term in self.terms(*margins).items()}
        return losses | self.statistics(*margins[:2])
