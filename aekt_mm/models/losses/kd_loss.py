"""Knowledge distillation as Hinton et al. defined it."""

from collections.abc import Callable

from torch import Tensor

from .divergence import divergence
from .logit_loss import check_range
from .tempered_loss import TemperedLoss


class KDLoss(TemperedLoss):
    r"""Knowledge distillation (Hinton et al., 2015).

    `arXiv 1503.02531 <https://arxiv.org/abs/1503.02531>`_

    .. math:: \alpha \tau^2\, KL(p^T \| p^S)

    The divergence of the tempered student from the tempered teacher, equal to
    ``F.kl_div(..., reduction='batchmean')`` times the squared temperature. The labels are not
    looked at. Of the target class and of the others it teaches (Zhao et al., 2022, eq. 5)

    .. math:: KL(p^T \| p^S) = KL(Bern(p^T_t) \| Bern(p^S_t)) + (1 - p^T_t)\, d

    which a :class:`~aekt_mm.models.losses.DistillLoss` with these two terms would log one by one,
    in twice the time.

    Args:
        temperature: What both networks' logits are divided by: a number above 0, or what learns
            it, see :class:`~aekt_mm.models.losses.TemperedLoss`.
        alpha: Weight of the loss, at least 0.
        transform: See :class:`~aekt_mm.models.losses.LogitLoss`.

    Raises:
        ValueError: If an option is out of its range.


    Examples:
        >>> import torch
        >>> loss = KDLoss(temperature=4.0)
        >>> loss(torch.zeros(2, 3), torch.zeros(2, 3), torch.tensor([0, 2]))
        {'loss': tensor(0.)}
    """

    def __init__(
        self,
        temperature: float | dict | Callable[[], Tensor] = 4.0,
        alpha: float = 1.0,
        transform: dict | Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(temperature, transform)
        self.alpha = check_range('alpha', alpha, 0)

    def at_temperature(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        target: Tensor,
        temperature: float | Tensor,
    ) -> dict[str, Tensor]:
        """See :meth:`TemperedLoss.at_temperature`."""
        weight = self.alpha * temperature * temperature
        return {'loss': divergence(student_logits, teacher_logits, temperature, weight)}
