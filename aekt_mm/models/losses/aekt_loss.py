"""Adaptive explicit knowledge transfer."""

from collections.abc import Callable

import torch
from torch import Tensor

from .decomposition import decompose
from .distill_loss import DistillLoss
from .explicit_terms import RatioWeighted
from .logit_loss import check_range


class AEKTLoss(DistillLoss):
    r"""Adaptive Explicit Knowledge Transfer (Park and Lee, 2024).

    `arXiv 2409.01679 <https://arxiv.org/abs/2409.01679>`_

    .. math:: \alpha\, E(m^S, m^T) + \beta\, d

    :math:`E` pulls the student's confidence in the target class towards the teacher's, each sample
    by how far it is behind; :math:`d` teaches the distribution over the other classes.

    Args:
        temperature: What both networks' logits are divided by: a number above 0, or what learns
            it, see :class:`~aekt_mm.models.losses.TemperedLoss`.
        alpha: Weight of the explicit term, at least 0.
        beta: Weight of the non-target divergence (implicit), at least 0.
        explicit: :math:`E`: a config of the registry ``EXPLICIT_TERMS``, or any function of the
            student's and the teacher's target margins, both (N,), that returns (N,).
        explicit_temperature: What the logits are divided by for the explicit term, above 0. By
            default ``temperature``.
        transform: See :class:`~aekt_mm.models.losses.LogitLoss`.

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
        temperature: float | dict | Callable[[], Tensor] = 4.0,
        alpha: float = 1.0,
        beta: float = 8.0,
        explicit: dict | Callable[[Tensor, Tensor], Tensor] | None = None,
        explicit_temperature: float | None = None,
        transform: dict | Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(temperature, transform)
        if explicit_temperature is not None:
            explicit_temperature = check_range(
                'explicit_temperature', explicit_temperature, 0, inclusive=False
            )
        self.explicit_temperature = explicit_temperature
        self.alpha = check_range('alpha', alpha, 0)
        self.beta = check_range('beta', beta, 0)
        self.explicit: Callable[[Tensor, Tensor], Tensor]
        if explicit is None:
            self.explicit = RatioWeighted()
        elif isinstance(explicit, dict):
            # here, so that the losses need nothing but torch where no config is built
            from aekt_mm.registry import EXPLICIT_TERMS, build

            self.explicit = build(EXPLICIT_TERMS, explicit)
        elif callable(explicit):
            self.explicit = explicit
        else:
            raise ValueError(
                "explicit must be a term, as in dict(type='RatioWeighted'), or a function, but is "
                f'{explicit!r}'
            )

    def terms(
        self, student_margin: Tensor, teacher_margin: Tensor, nontarget_kl: Tensor
    ) -> dict[str, Tensor]:
        """See :meth:`DistillLoss.terms`."""
        return {
            'loss_explicit': self.alpha * self.explicit(student_margin, teacher_margin),
            'loss_implicit': self.beta * nontarget_kl,
        }

    def of_samples(
        self, student_logits: Tensor, teacher_logits: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        """See :meth:`LogitLoss.of_samples`."""
        losses = super().of_samples(student_logits, teacher_logits, target)
        if self.explicit_temperature is not None:
            temperature = self.explicit_temperature
            *margins, _ = decompose(student_logits, teacher_logits, target, temperature)
            losses['loss_explicit'] = temperature**2 * self.alpha * self.explicit(*margins)
            losses |= self.statistics(*margins)
        return losses

    @torch.no_grad()
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
