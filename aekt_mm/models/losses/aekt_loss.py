"""Adaptive explicit knowledge transfer."""

from collections.abc import Callable

from torch import Tensor

from .distill_loss import DistillLoss, check_range
from .explicit_terms import RatioWeighted


class AEKTLoss(DistillLoss):
    r"""Adaptive Explicit Knowledge Transfer (Park and Lee, 2024).

    `arXiv 2409.01679 <https://arxiv.org/abs/2409.01679>`_

    .. math:: \alpha\, E(m^S, m^T) + \beta\, d

    :math:`E` pulls the student's confidence in the target class towards the teacher's, each sample
    by how far it is behind; :math:`d` teaches the distribution over the other classes.

    Args:
        temperature: What both networks' logits are divided by, above 0.
        alpha: Weight of the explicit term, at least 0.
        beta: Weight of the non-target divergence (implicit), at least 0.
        explicit: :math:`E`: a config of the registry ``EXPLICIT_TERMS``, or any function of the
            student's and the teacher's target margins, both (N,), that returns (N,).

    Raises:
        ValueError: If an option is out of its range.


    Examples:
        >>> import torch
        >>> loss = AEKTLoss(explicit=dict(type='RatioWeighted', base='kl', max_weight=2.0))
        >>> sorted(loss(torch.rand(2, 3), torch.rand(2, 3), torch.tensor([0, 2])))
        ['confidence_ratio', 'loss_explicit', 'loss_implicit']
    """

    def __init__(
        self,
        temperature: float = 4.0,
        alpha: float = 1.0,
        beta: float = 8.0,
        explicit: dict | Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(temperature)
        self.alpha = check_range('alpha', alpha, 0)
        self.beta = check_range('beta', beta, 0)
        if explicit is None:
            explicit = RatioWeighted()
        elif isinstance(explicit, dict):
            # here, so that the losses need nothing but torch where no config is built
            from aekt_mm.registry import EXPLICIT_TERMS, build

            explicit = build(EXPLICIT_TERMS, explicit)
        elif not callable(explicit):
            raise ValueError(
                "explicit must be a term, as in dict(type='RatioWeighted'), or a function, but is "
                f'{explicit!r}'
            )
        self.explicit = explicit

    def terms(
        self, student_margin: Tensor, teacher_margin: Tensor, nontarget_kl: Tensor
    ) -> dict[str, Tensor]:
        """See :meth:`DistillLoss.terms`."""
        return {
            'loss_explicit': self.alpha * self.explicit(student_margin, teacher_margin),
            'loss_implicit': self.beta * nontarget_kl,
        }
