"""Distillation from a stronger teacher."""

from collections.abc import Callable

import torch
from torch import Tensor

from .logit_loss import LogitLoss, check_range

#: Added to a product of norms, as in the authors' code.
EPS = 1e-8


class DISTLoss(LogitLoss):
    r"""Match relations instead of probabilities (DIST, Huang et al., NeurIPS 2022).

    `arXiv 2205.10536 <https://arxiv.org/abs/2205.10536>`_

    .. math:: \tau^2 [\beta\, (1 - \rho_{rows}) + \gamma\, (1 - \rho_{columns})]

    with :math:`\rho` the mean Pearson correlation of the two networks' tempered probabilities:
    over the classes of each sample (inter-class), and over the samples of the batch for each class
    (intra-class). The labels are not looked at.

    The intra-class part couples the samples of a batch, and knows those of its own rank alone:
    with R ranks of N samples it is the mean of R correlations over N samples, which is not the one
    over R·N. The authors' code does the same.

    Args:
        temperature: :math:`\tau`, above 0.
        beta: Weight of the inter-class part, at least 0.
        gamma: Weight of the intra-class part, at least 0.
        transform: See :class:`~aekt_mm.models.losses.LogitLoss`.

    Raises:
        ValueError: If an option is out of its range.

    Examples:
        >>> loss = DISTLoss()
        >>> sorted(loss(torch.rand(2, 3), torch.rand(2, 3), torch.tensor([0, 2])))
        ['loss_inter', 'loss_intra']
    """

    def __init__(
        self,
        temperature: float = 1.0,
        beta: float = 2.0,
        gamma: float = 2.0,
        transform: dict | Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(transform)
        self.temperature = check_range('temperature', temperature, 0, inclusive=False)
        self.beta = check_range('beta', beta, 0)
        self.gamma = check_range('gamma', gamma, 0)

    def of_batch(
        self, student_logits: Tensor, teacher_logits: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        """See :meth:`LogitLoss.of_batch`."""
        student = (student_logits / self.temperature).softmax(1)
        teacher = (teacher_logits / self.temperature).softmax(1)
        square = self.temperature**2
        return {
            'loss_inter': self.beta * square * (1 - _correlation(student, teacher, dim=1).mean()),
            'loss_intra': self.gamma * square * (1 - _correlation(student, teacher, dim=0).mean()),
        }


def _correlation(student: Tensor, teacher: Tensor, dim: int) -> Tensor:
    """Return Pearson's correlation along a dimension."""
    student = student - student.mean(dim, keepdim=True)
    teacher = teacher - teacher.mean(dim, keepdim=True)
    norms = torch.linalg.vector_norm(student, dim=dim) * torch.linalg.vector_norm(teacher, dim=dim)
    return torch.linalg.vecdot(student, teacher, dim=dim) / (norms + EPS)
