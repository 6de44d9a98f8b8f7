"""Attention transfer."""

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from .feature_loss import FeatureLoss, Features, Shapes


class ATLoss(FeatureLoss):
    r"""Match where activations are large (Zagoruyko and Komodakis, ICLR 2017).

    `arXiv 1612.03928 <https://arxiv.org/abs/1612.03928>`_

    The mean squared difference of attention maps, summed over the pairs of feature maps: the mean
    of :math:`|x|^2` over the channels, flattened and of norm 1. The larger of two maps is pooled
    to the size of the other. As in RepDistiller (Tian et al., 2020).

    Args:
        weight: Weight of the loss, at least 0.

    Examples:
        >>> import torch
        >>> student, teacher = torch.rand(4, 16, 8, 8), torch.rand(4, 32, 8, 8)
        >>> list(ATLoss()([student], [teacher]))
        ['loss']
    """

    maps = True

    def __init__(self, weight: float = 1000.0) -> None:
        super().__init__(weight)

    def build_projection(self, student_shape: Shapes, teacher_shape: Shapes) -> None:
        """Check the shapes; nothing is projected.

        Raises:
            ValueError: If the shapes are not (C, H, W).
        """
        for shapes in (student_shape, teacher_shape):
            for shape in [shapes] if isinstance(shapes, tuple) else shapes:
                if len(shape) != 3:
                    raise ValueError(f'ATLoss compares maps (C, H, W), not {shape}')

    def compare(self, student: Features, teacher: Features) -> Tensor:
        """See :meth:`FeatureLoss.compare`; maps (N, C, H, W)."""
        if isinstance(student, Tensor):
            student, teacher = [student], [teacher]
        return reduce(torch.add, (self._of_pair(*pair) for pair in zip(student, teacher)))

    @staticmethod
    def _of_pair(student: Tensor, teacher: Tensor) -> Tensor:
        size = min(student.shape[2], teacher.shape[2])
        maps = [_attention(feature, size) for feature in (student, teacher)]
        return (maps[0] - maps[1]).square().mean()


def _attention(feature: Tensor, size: int) -> Tensor:
    if feature.shape[2] > size:
        feature = F.adaptive_avg_pool2d(feature, size)
    return F.normalize(feature.square().mean(1).flatten(1))
