"""Transformed teacher matching."""

from collections.abc import Callable

from torch import Tensor

from .divergence import divergence
from .logit_loss import LogitLoss, check_range


class TTMLoss(LogitLoss):
    r"""Transformed Teacher Matching, also weighted (Zheng and Yang, ICLR 2024).

    `arXiv 2402.11148 <https://arxiv.org/abs/2402.11148>`_

    .. math:: \beta\, KL(\tilde p^T \| p^S), \qquad \tilde p^T_i \propto (p^T_i)^\gamma

    KD with a temperature for the teacher alone, :math:`1 / \gamma`, and without its square. WTTM
    weights each sample by :math:`\sum_i (p^T_i)^\gamma`, which is larger where the teacher is
    less sure.

    Args:
        gamma: The exponent of the power transform, above 0.
        beta: Weight of the loss, at least 0.
        weighted: Whether samples are weighted (WTTM).
        transform: See :class:`~aekt_mm.models.losses.LogitLoss`.

    Raises:
        ValueError: If an option is out of its range.

    Examples:
        >>> import torch
        >>> loss = TTMLoss(gamma=0.5, weighted=True)
        >>> loss(torch.zeros(2, 4), torch.zeros(2, 4), torch.tensor([0, 2]))
        {'loss': tensor(0.)}
    """

    def __init__(
        self,
        gamma: float = 0.1,
        beta: float = 1.0,
        weighted: bool = False,
        transform: dict | Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(transform)
        self.gamma = check_range('gamma', gamma, 0, inclusive=False)
        self.beta = check_range('beta', beta, 0)
        self.weighted = weighted

    def of_samples(
        self, student_logits: Tensor, teacher_logits: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        """See :meth:`LogitLoss.of_samples`."""
        weight: float | Tensor = self.beta
        if self.weighted:  # no power exceeds 1, so that the sum neither overflows nor vanishes
            weight = weight * (self.gamma * teacher_logits.log_softmax(1)).exp_().sum(1)
        return {'loss': divergence(student_logits, self.gamma * teacher_logits, weight=weight)}
