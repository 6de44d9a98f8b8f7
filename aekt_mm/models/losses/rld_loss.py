"""Distillation with refined logits."""

from collections.abc import Callable

import torch
from torch import Tensor

from .distill_loss import bernoulli_kl
from .divergence import divergence
from .logit_loss import LogitLoss, check_range

#: The logit of a class that is left out; finite, so that 0 times its difference is 0.
LEFT_OUT = -1e9


class RLDLoss(LogitLoss):
    r"""Distillation with Refined Logits (Sun et al., 2024).

    `arXiv 2408.07703 <https://arxiv.org/abs/2408.07703>`_

    .. math:: \alpha \tau_\alpha^2\, KL(Bern(\max_i p^T_i) \| Bern(p^S_t))
              + \beta \tau^2 \sum_{i \in M} \hat q^T_i \log (\hat q^T_i / \hat q^S_i)

    The first part (sample confidence) teaches how sure the teacher is, of whatever class; the
    second (masked correlation) compares the distributions over :math:`M`, the classes that the
    teacher holds for less likely than the target. Where there is none it is 0.

    Args:
        temperature: :math:`\tau` of the second part, above 0.
        alpha: Weight of the first part, at least 0.
        beta: Weight of the second part, at least 0.
        alpha_temperature: :math:`\tau_\alpha` of the first part, above 0.
        transform: See :class:`~aekt_mm.models.losses.LogitLoss`.

    Raises:
        ValueError: If an option is out of its range.

    Examples:
        >>> loss = RLDLoss()
        >>> sorted(loss(torch.rand(2, 3), torch.rand(2, 3), torch.tensor([0, 2])))
        ['loss_confidence', 'loss_correlation']
    """

    def __init__(
        self,
        temperature: float = 4.0,
        alpha: float = 1.0,
        beta: float = 8.0,
        alpha_temperature: float = 1.0,
        transform: dict | Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(transform)
        self.temperature = check_range('temperature', temperature, 0, inclusive=False)
        self.alpha = check_range('alpha', alpha, 0)
        self.beta = check_range('beta', beta, 0)
        self.alpha_temperature = check_range(
            'alpha_temperature', alpha_temperature, 0, inclusive=False
        )

    def of_samples(
        self, student_logits: Tensor, teacher_logits: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        """See :meth:`LogitLoss.of_samples`."""
        index = target.unsqueeze(1)
        best = teacher_logits.argmax(1, keepdim=True)
        student_margin = _margin(student_logits / self.alpha_temperature, index)
        teacher_margin = _margin(teacher_logits / self.alpha_temperature, best)
        confidence = bernoulli_kl(student_margin, teacher_margin)

        left_out = teacher_logits >= teacher_logits.gather(1, index)
        correlation = divergence(
            student_logits.masked_fill(left_out, LEFT_OUT),
            teacher_logits.masked_fill(left_out, LEFT_OUT),
            self.temperature,
            self.beta * self.temperature**2,
        )
        return {
            'loss_confidence': self.alpha * self.alpha_temperature**2 * confidence,
            'loss_correlation': correlation,
        }


def _margin(logits: Tensor, index: Tensor) -> Tensor:
    """Return the margin of the class at ``index`` (N, 1) over all others, (N,)."""
    others = logits.scatter(1, index, -torch.inf).logsumexp(1)
    return logits.gather(1, index).squeeze(1) - others
