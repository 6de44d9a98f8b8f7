"""Adaptive explicit knowledge transfer."""

from collections.abc import Callable

import torch
from torch import Tensor

from .decomposition import decompose
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
        explicit_temperature: What the logits are divided by for the explicit term, above 0. By
            default ``temperature``.

    Raises:
        ValueError: If an option is out of its range.


    Examples:
        >>> import torch
        >>> loss = AEKTLoss(explicit=dict(type='RatioWeighted', base='kl', max_weight=2.0))
        >>> sorted(loss(torch.rand(2, 3), torch.rand(2, 3), torch.tensor([0, 2])))
        ['applied_weight', 'confidence_ratio', 'loss_explicit', 'loss_implicit']
    """

    def __init__(
        self,
        temperature: float = 4.0,
        alpha: float = 1.0,
        beta: float = 8.0,
        explicit: dict | Callable[[Tensor, Tensor], Tensor] | None = None,
        explicit_temperature: float | None = None,
    ) -> None:
        super().__init__(temperature)
        if explicit_temperature is None:
            explicit_temperature = temperature
        self.explicit_temperature = check_range(
            'explicit_temperature', explicit_temperature, 0, inclusive=False
        )
        self.alpha = check_range('alpha', alpha, 0)
        self.beta = check_range('beta', beta, 0)
        if explicit is None:
            explicit = RatioWeighted()
        elif isinstance(explicit, dict):
            # here, so that the losses need nothing but torch where no config is built
            from aekt_mm.registry import EXPLICIT_TERMS, build

            explicit = build(EXPLICIT_TERMS, explicit)
        self.explicit = explicit

    def terms(
        self, student_margin: Tensor, teacher_margin: Tensor, nontarget_kl: Tensor
    ) -> dict[str, Tensor]:
        """See :meth:`DistillLoss.terms`."""
        # each part is worth its own temperature squared; both will be multiplied by the other's
        weight = self.alpha * (self.explicit_temperature / self.temperature) ** 2
        return {
            'loss_explicit': weight * self.explicit(student_margin, teacher_margin),
            'loss_implicit': self.beta * nontarget_kl,
        }

    def decompose(self, student_logits: Tensor, teacher_logits: Tensor, target: Tensor) -> tuple:
        """See :meth:`DistillLoss.decompose`; margins are those at the explicit temperature."""
        student_margin, teacher_margin, nontarget_kl = super().decompose(
            student_logits, teacher_logits, target
        )
        if self.explicit_temperature != self.temperature:
            student_margin, teacher_margin, _ = decompose(
                student_logits, teacher_logits, target, self.explicit_temperature
            )
        return student_margin, teacher_margin, nontarget_kl

    def statistics(self, student_margin: Tensor, teacher_margin: Tensor) -> dict[str, Tensor]:
        """See :meth:`DistillLoss.statistics`.

        Beside the ratio, where the explicit term tells its pull, ``applied_weight``: how many times
        as hard as DKD at alpha 1 the batch's confidences are pulled, each sample counting by its
        gap: the sum of alpha abs(pull) over the sum of abs(pT - pS).
        """
        statistics = super().statistics(student_margin, teacher_margin)
        if hasattr(self.explicit, 'pull'):
            pull = self.alpha * self.explicit.pull(student_margin, teacher_margin).abs()
            gap = (teacher_margin.sigmoid() - student_margin.sigmoid()).abs()
            weight = pull.sum() / gap.sum().clamp_(min=torch.finfo(gap.dtype).tiny)
            statistics['applied_weight'] = weight.expand_as(gap)
        return statistics
