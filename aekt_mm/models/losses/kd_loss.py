"""Knowledge distillation as Hinton et al. defined it."""

from collections.abc import Callable

from torch import Tensor

from .distill_loss import DistillLoss, bernoulli_kl
from .logit_loss import check_range


class KDLoss(DistillLoss):
    r"""Knowledge distillation (Hinton et al., 2015).

    `arXiv 1503.02531 <https://arxiv.org/abs/1503.02531>`_

    The Kullback-Leibler divergence of the tempered student from the tempered teacher, times
    temperature squared, equal to ``F.kl_div(..., reduction='batchmean')``, written as its explicit
    and its implicit part (Zhao et al., 2022, eq. 5):

    .. math:: KL(p^T \| p^S) = KL(Bern(p^T_t) \| Bern(p^S_t)) + (1 - p^T_t)\, d

    Args:
        temperature: What both networks' logits are divided by: a number above 0, or what learns
            it, see :class:`~aekt_mm.models.losses.DistillLoss`.
        alpha: Weight of the loss, at least 0.
        transform: See :class:`~aekt_mm.models.losses.LogitLoss`.

    Raises:
        ValueError: If an option is out of its range.


    Examples:
        >>> import torch
        >>> loss = KDLoss(temperature=4.0)
        >>> loss(torch.zeros(2, 3), torch.zeros(2, 3), torch.tensor([0, 2]))
        {'loss_explicit': tensor(0.), 'loss_implicit': tensor(0.), 'confidence_ratio': tensor(1.)}
    """

    def __init__(
        self,
        temperature: float | dict | Callable[[], Tensor] = 4.0,
        alpha: float = 1.0,
        transform: dict | Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(temperature, transform)
        self.alpha = check_range('alpha', alpha, 0)

    def terms(
        self, student_margin: Tensor, teacher_margin: Tensor, nontarget_kl: Tensor
    ) -> dict[str, Tensor]:
        """See :meth:`DistillLoss.terms`."""
        return {
            'loss_explicit': self.alpha * bernoulli_kl(student_margin, teacher_margin),
            'loss_implicit': self.alpha * (-teacher_margin).sigmoid() * nontarget_kl,
        }
