"""Decoupled knowledge distillation."""

from collections.abc import Callable

from torch import Tensor

from .distill_loss import DistillLoss, bernoulli_kl
from .logit_loss import check_range


class DKDLoss(DistillLoss):
    r"""Decoupled Knowledge Distillation (Zhao et al., CVPR 2022, eq. 7).

    `arXiv 2203.08679 <https://arxiv.org/abs/2203.08679>`_

    .. math:: \alpha\, KL(Bern(p^T_t) \| Bern(p^S_t)) + \beta\, d

    Args:
        temperature: What both networks' logits are divided by: a number above 0, or what learns
            it, see :class:`~aekt_mm.models.losses.TemperedLoss`.
        alpha: Weight of the target class's part (TCKD, explicit), at least 0.
        beta: Weight of the other classes' part (NCKD, implicit), at least 0.
        transform: See :class:`~aekt_mm.models.losses.LogitLoss`.

    Raises:
        ValueError: If an option is out of its range.


    Examples:
        >>> import torch
        >>> loss = DKDLoss(temperature=4.0, alpha=1.0, beta=8.0)
        >>> sorted(loss(torch.rand(2, 3), torch.rand(2, 3), torch.tensor([0, 2])))
        ['confidence_ratio', 'loss_explicit', 'loss_implicit']
    """

    def __init__(
        self,
        temperature: float | dict | Callable[[], Tensor] = 4.0,
        alpha: float = 1.0,
        beta: float = 8.0,
        transform: dict | Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(temperature, transform)
        self.alpha = check_range('alpha', alpha, 0)
        self.beta = check_range('beta', beta, 0)

    def terms(
        self, student_margin: Tensor, teacher_margin: Tensor, nontarget_kl: Tensor
    ) -> dict[str, Tensor]:
        """See :meth:`DistillLoss.terms`."""
        return {
            'loss_explicit': self.alpha * bernoulli_kl(student_margin, teacher_margin),
            'loss_implicit': self.beta * nontarget_kl,
        }
