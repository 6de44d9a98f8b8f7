"""Multi-level logit distillation."""

from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import Tensor

from .logit_loss import LogitLoss, built, check_range


class MLKDLoss(LogitLoss):
    r"""Multi-Level Logit Distillation (Jin et al., CVPR 2023), on one view of the images.

    With :math:`P` (N, C) the tempered probabilities, summed over the temperatures :math:`\tau`:

    .. math:: w \sum_\tau \left[ h_N \tau^2 \overline{KL(P^T \| P^S)}
              + \frac{h_C}{C} \|P^{T\top} P^T - P^{S\top} P^S\|^2
              + \frac{h_N}{N} \|P^T P^{T\top} - P^S P^{S\top}\|^2 \right]

    These are the levels of the instance, of the class and of the batch. The labels are not looked
    at.

    The published code does what the paper does not say. A median picks half of the samples (those
    that the teacher is least sure of) and half of the classes, but multiplies what is already
    averaged: what remains is :math:`h`, the share of those that are not above the median, which is
    1/2 but for ties. This is built, since the published figures have it. The code also trains on
    a second, strongly augmented view, which is not built: there only the instance level enters,
    and two of its five temperatures see the first view.

    The levels of batch and class couple the samples of a batch, and know those of their own rank
    alone, as in the authors' code.

    Args:
        temperatures: :math:`\tau`, each above 0.
        weight: :math:`w`, at least 0.
        transform: What the logits go through at the instance level alone, as Sun et al. (2024)
            standardise them.

    Raises:
        ValueError: If an option is out of its range.

    Examples:
        >>> loss = MLKDLoss()
        >>> sorted(loss(torch.rand(2, 3), torch.rand(2, 3), torch.tensor([0, 2])))
        ['loss_batch', 'loss_class', 'loss_instance']
    """

    def __init__(
        self,
        temperatures: Sequence[float] = (2.0, 3.0, 4.0, 5.0, 6.0),
        weight: float = 0.9,
        transform: dict | Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.temperatures = [check_range('temperatures', t, 0, False) for t in temperatures]
        self.weight = check_range('weight', weight, 0)
        self.instance_transform = built(transform)

    def of_batch(
        self, student_logits: Tensor, teacher_logits: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        """See :meth:`LogitLoss.of_batch`."""
        n, c = student_logits.shape
        probabilities = teacher_logits.softmax(1)
        samples = _share_up_to_median(probabilities.amax(1))
        classes = _share_up_to_median(probabilities.sum(0))
        levels: dict[str, list[Tensor]] = {'loss_instance': [], 'loss_class': [], 'loss_batch': []}
        for temperature in self.temperatures:
            log_student = (student_logits / temperature).log_softmax(1)
            log_teacher = (teacher_logits / temperature).log_softmax(1)
            student, teacher = log_student.exp(), log_teacher.exp()
            class_gap = (teacher.T @ teacher - student.T @ student).square().sum()
            batch_gap = (teacher @ teacher.T - student @ student.T).square().sum()
            if self.instance_transform is not None:
                log_student = self._transformed(student_logits, temperature)
                log_teacher = self._transformed(teacher_logits, temperature)
                teacher = log_teacher.exp()
            kl = torch.linalg.vecdot(teacher, log_teacher - log_student).mean()
            levels['loss_instance'].append(samples * temperature**2 * kl)
            levels['loss_class'].append(classes * class_gap / c)
            levels['loss_batch'].append(samples * batch_gap / n)
        return {name: self.weight * reduce(torch.add, parts) for name, parts in levels.items()}

    def _transformed(self, logits: Tensor, temperature: float) -> Tensor:
        return (self.instance_transform(logits) / temperature).log_softmax(1)


def _share_up_to_median(values: Tensor) -> Tensor:
    return (values <= values.quantile(0.5)).to(values.dtype).mean()
