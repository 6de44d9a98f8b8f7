"""The base of the losses on features."""

from typing import Any

from torch import Tensor, nn

from .logit_loss import check_range
from .precision import no_autocast, widened

#: One tapped feature (N, ...), or a sequence of several: a subclass says which it compares.
Features = Any
#: Their shapes without N: one tuple, or a sequence of them.
Shapes = Any


class FeatureLoss(nn.Module):
    """Base of the losses on features of student and teacher.

    A subclass defines :meth:`compare`, and where the student's features have to be projected first
    :meth:`build_projection` and :meth:`project`. What is compared is float32, or wider where the
    features are, also under autocast; projections run as the networks do.

    Args:
        weight: Weight of the loss, at least 0.

    Attributes:
        maps: Whether it compares maps (N, C, H, W): a transformer's tokens (N, L, C) are laid out
            on their grid then.

    Raises:
        ValueError: If the weight is out of its range.
    """

    maps = False

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = check_range('weight', weight, 0)

    def build_projection(self, student_shape: Shapes, teacher_shape: Shapes) -> None:
        """Build the projection of features of these shapes; the distiller calls it once.

        Args:
            student_shape: Without the batch, as (C, H, W) or (C,); a list of such for several.
            teacher_shape: The teacher's.
        """

    def project(self, student: Features, teacher: Features) -> tuple[Features, Features]:
        """Bring the features to where they are compared; as they are, here."""
        return student, teacher

    def compare(self, student: Features, teacher: Features) -> Tensor:
        """Return the loss of a batch, a scalar, from projected features."""
        raise NotImplementedError

    def forward(
        self,
        student: Features,
        teacher: Features,
        target: Tensor | None = None,
        sample_idx: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute the loss of a batch.

        Args:
            student: A feature (N, ...), or a list of them.
            teacher: The teacher's, without gradient.
            target: As for a :class:`~aekt_mm.models.losses.LogitLoss`, for losses that need it.
            sample_idx: Which samples of the dataset they are, (N,) int64, for losses that need it.

        Returns:
            ``loss``, a scalar.
        """
        student, teacher = self.project(student, teacher)
        with no_autocast(student):
            return {'loss': self.weight * self.compare(widened(student), widened(teacher))}
