"""Knowledge review: all of the student's deeper stages explain each of the teacher's."""

from collections.abc import Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .feature_loss import FeatureLoss

#: Sides of the maps to which features are pooled for comparison, beside their own.
POOLED_SIDES = (4, 2, 1)


class ReviewKDLoss(FeatureLoss):
    """Distil by knowledge review (Chen et al., CVPR 2021).

    `arXiv 2104.09044 <https://arxiv.org/abs/2104.09044>`_

    From the deepest stage on, the student's features are fused with what came of the deeper ones
    (attention based fusion), projected, and compared with the teacher's of the stage at their own
    size and pooled to smaller ones (hierarchical context loss). The stages come as two lists, from
    the shallowest to the deepest, which is the pooled feature (N, C); the authors take the
    teacher's before their last ReLU.

    Args:
        weight: Weight of the loss, at least 0.
        max_channels: Of the fused features; they have as many as the student's deepest, but not
            more than these.

    Examples:
        >>> loss = ReviewKDLoss()
        >>> shapes = [(16, 8, 8), (32, 1, 1)]
        >>> loss.build_projection(shapes, shapes)
        >>> features = [torch.rand(4, *shape) for shape in shapes]
        >>> list(loss(features, features))
        ['loss']
    """

    maps = True

    def __init__(self, weight: float = 1.0, max_channels: int = 512) -> None:
        super().__init__(weight)
        self.max_channels = max_channels

    def build_projection(
        self, student_shape: Sequence[tuple[int, ...]], teacher_shape: Sequence[tuple[int, ...]]
    ) -> None:
        """See :meth:`FeatureLoss.build_projection`."""
        channels = min(self.max_channels, student_shape[-1][0])
        last = len(student_shape) - 1
        self.fusions = nn.ModuleList(
            Fusion(student[0], channels, teacher[0], fuses=k < last)
            for k, (student, teacher) in enumerate(zip(student_shape, teacher_shape))
        )

    def project(
        self, student: Sequence[Tensor], teacher: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """See :meth:`FeatureLoss.project`.

        Raises:
            ValueError: If a batch of training has one sample, which has no variance.
        """
        student, teacher = ([_as_map(x) for x in features] for features in (student, teacher))
        if self.training and len(student[-1]) == 1 and student[-1].shape[2:].numel() == 1:
            raise ValueError(
                'ReviewKDLoss has a batch norm of pooled features, which needs at least 2 images '
                'in a batch, but this one has 1: set drop_last=True in train_dataloader, or '
                'another batch_size'
            )
        deeper: Tensor | None = None
        explained: list[Tensor] = []
        for fusion, own, aim in zip(reversed(self.fusions), reversed(student), reversed(teacher)):
            out, deeper = fusion(own, deeper, aim.shape[-2:])
            explained.insert(0, out)
        return explained, teacher

    def compare(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """See :meth:`FeatureLoss.compare`."""
        return reduce(torch.add, (_hierarchical(*pair) for pair in zip(student, teacher)))


class Fusion(nn.Module):
    """Fuse a stage's feature with that of the deeper stages, by a learned attention to each."""

    def __init__(self, in_channels: int, channels: int, out_channels: int, fuses: bool) -> None:
        super().__init__()
        self.conv1 = _conv_bn(in_channels, channels, 1)
        self.conv2 = _conv_bn(channels, out_channels, 3)
        self.attention = nn.Conv2d(2 * channels, 2, 1) if fuses else None

    def forward(
        self, own: Tensor, deeper: Tensor | None, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return the feature for the teacher's, and the one for the next stage."""
        own = self.conv1(own)
        if self.attention is not None and deeper is not None:
            deeper = F.interpolate(deeper, own.shape[-2:], mode='nearest')
            shares = self.attention(torch.cat([own, deeper], dim=1)).sigmoid()
            own = own * shares[:, :1] + deeper * shares[:, 1:]
        if own.shape[-1] != size[-1]:
            own = F.interpolate(own, size, mode='nearest')
        return self.conv2(own), own


def _conv_bn(in_channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


def _as_map(feature: Tensor) -> Tensor:
    return feature[:, :, None, None] if feature.ndim == 2 else feature


def _hierarchical(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared error over sizes, each of half the weight of the one before."""
    loss, share, total = F.mse_loss(student, teacher), 1.0, 1.0
    for side in POOLED_SIDES:
        if side >= student.shape[2]:
            continue
        share /= 2
        own, aim = (F.adaptive_avg_pool2d(feature, side) for feature in (student, teacher))
        loss = loss + share * F.mse_loss(own, aim)
        total += share
    return loss / total
