"""Normalised knowledge distillation."""

from collections.abc import Callable

from torch import Tensor

from .decomposition import decompose, nontarget_entropy
from .distill_loss import MAX_LOGGED_RATIO
from .logit_loss import LogitLoss, check_range


class NKDLoss(LogitLoss):
    r"""Normalised Knowledge Distillation (Yang et al., ICCV 2023).

    `arXiv 2303.13005 <https://arxiv.org/abs/2303.13005>`_

    .. math:: -p^T_t \log p^S_t - \gamma \tau^2 \sum_{i \ne t} q^T_i \log q^S_i

    with the target's probabilities at temperature 1 and the non-target distributions at
    :math:`\tau`. The authors' code takes the largest class of a soft target; here the loss of a
    mixture is the mixture of the losses of its classes.

    Args:
        temperature: :math:`\tau`, of the non-target part alone, above 0.
        gamma: Weight of the non-target part, at least 0.
        transform: See :class:`~aekt_mm.models.losses.LogitLoss`.

    Raises:
        ValueError: If an option is out of its range.

    Examples:
        >>> import torch
        >>> loss = NKDLoss(temperature=1.0, gamma=1.5)
        >>> sorted(loss(torch.rand(2, 3), torch.rand(2, 3), torch.tensor([0, 2])))
        ['confidence_ratio', 'loss_explicit', 'loss_implicit']
    """

    def __init__(
        self,
        temperature: float = 1.0,
        gamma: float = 1.5,
        transform: dict | Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(transform)
        self.temperature = check_range('temperature', temperature, 0, inclusive=False)
        self.gamma = check_range('gamma', gamma, 0)

    def of_samples(
        self, student_logits: Tensor, teacher_logits: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        """See :meth:`LogitLoss.of_samples`."""
        *_, nontarget_kl = decompose(student_logits, teacher_logits, target, self.temperature)
        cross_entropy = nontarget_kl + nontarget_entropy(teacher_logits, target, self.temperature)
        # at temperature 1, of which a decomposition would take twice as long
        student, teacher = (_log_p(logits, target) for logits in (student_logits, teacher_logits))
        return {
            'loss_explicit': -teacher.exp() * student,
            'loss_implicit': self.gamma * self.temperature**2 * cross_entropy,
            'confidence_ratio': (teacher - student.detach()).exp().clamp_(max=MAX_LOGGED_RATIO),
        }


def _log_p(logits: Tensor, target: Tensor) -> Tensor:
    """Return the log probability of the target class, (N,)."""
    return logits.log_softmax(1).gather(1, target.unsqueeze(1)).squeeze(1)
