"""Relational knowledge distillation."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .feature_loss import FeatureLoss
from .logit_loss import check_range


class RKDLoss(FeatureLoss):
    r"""Match distances and angles between samples (Park et al., CVPR 2019).

    `arXiv 1904.05068 <https://arxiv.org/abs/1904.05068>`_

    The smooth L1 distance of the pairwise distances, each network's divided by their mean, and of
    the cosines of the angles in all triples of samples; as in RepDistiller (Tian et al., 2020).
    Relations are those within a rank's own batch: ranks do not see each other's samples.

    Args:
        weight: Weight of the whole, at least 0.
        distance_weight: Weight of the distances, at least 0.
        angle_weight: Weight of the angles, at least 0.

    Raises:
        ValueError: If an option is out of its range.

    Examples:
        >>> list(RKDLoss()(torch.rand(4, 16), torch.rand(4, 32)))
        ['loss']
    """

    def __init__(
        self, weight: float = 1.0, distance_weight: float = 25.0, angle_weight: float = 50.0
    ) -> None:
        super().__init__(weight)
        self.distance_weight = check_range('distance_weight', distance_weight, 0)
        self.angle_weight = check_range('angle_weight', angle_weight, 0)

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """See :meth:`FeatureLoss.compare`; features (N, ...). One sample has no relations: 0."""
        with torch.no_grad():
            teacher_distances, teacher_angles = _relations(teacher.flatten(1))
        distances, angles = _relations(student.flatten(1))
        return self.distance_weight * F.smooth_l1_loss(
            distances, teacher_distances
        ) + self.angle_weight * F.smooth_l1_loss(angles, teacher_angles)


def _relations(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return distances over their mean (N, N), and cosines at each sample (N, N, N)."""
    n = len(features)
    differences = features.unsqueeze(0) - features.unsqueeze(1)
    distances = torch.linalg.vector_norm(differences, dim=2)
    directions = differences / distances.clamp_min(1e-12).unsqueeze(2)
    mean = distances.sum() / max(1, n * (n - 1))  # a sample's distance to itself is 0
    # the mean is 0 of one sample, and of samples that are all the same
    return distances / mean.clamp_min(1e-12), directions @ directions.transpose(1, 2)
