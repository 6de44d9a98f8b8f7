"""FitNets: a hint from an intermediate layer."""

import torch.nn.functional as F
from torch import Tensor, nn

from .feature_loss import FeatureLoss


class FitNetLoss(FeatureLoss):
    """Regress the teacher's feature map (FitNets, Romero et al., ICLR 2015).

    `arXiv 1412.6550 <https://arxiv.org/abs/1412.6550>`_

    The mean squared error of the student's feature map behind a convolution, batch norm and ReLU.
    As in RepDistiller (Tian et al., 2020), whose tables have this method in one stage: maps of
    twice or half the size are brought to the teacher's with stride 2, others by the kernel's size.

    Args:
        weight: Weight of the loss, at least 0.

    Examples:
        >>> import torch
        >>> loss = FitNetLoss()
        >>> loss.build_projection((16, 8, 8), (32, 8, 8))
        >>> list(loss(torch.rand(4, 16, 8, 8), torch.rand(4, 32, 8, 8)))
        ['loss']
    """

    maps = True

    conv: nn.Conv2d | nn.ConvTranspose2d

    def __init__(self, weight: float = 100.0) -> None:
        super().__init__(weight)

    def build_projection(
        self, student_shape: tuple[int, int, int], teacher_shape: tuple[int, int, int]
    ) -> None:
        """See :meth:`FeatureLoss.build_projection`.

        Raises:
            ValueError: If the shapes are not (C, H, W), or the student's map is smaller than the
                teacher's and not half of it.
        """
        if len(student_shape) != 3 or len(teacher_shape) != 3:
            raise ValueError(
                f'FitNetLoss compares maps (C, H, W), not {student_shape} with {teacher_shape}'
            )
        channels, height, width = student_shape
        wanted, teacher_height, teacher_width = teacher_shape
        if height == 2 * teacher_height:
            self.conv = nn.Conv2d(channels, wanted, 3, stride=2, padding=1)
        elif 2 * height == teacher_height:
            self.conv = nn.ConvTranspose2d(channels, wanted, 4, stride=2, padding=1)
        elif height >= teacher_height:
            kernel = (1 + height - teacher_height, 1 + width - teacher_width)
            self.conv = nn.Conv2d(channels, wanted, kernel)
        else:
            raise ValueError(
                f"FitNetLoss can't bring the student's map {student_shape} to the teacher's "
                f'{teacher_shape}: it must be larger, as large, or half as high'
            )
        self.bn = nn.BatchNorm2d(wanted)

    def project(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`FeatureLoss.project`."""
        return self.bn(self.conv(student)).relu_(), teacher

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """See :meth:`FeatureLoss.compare`."""
        if student.shape != teacher.shape:  # which mse_loss would stretch
            raise ValueError(
                f"FitNetLoss compares the teacher's {tuple(teacher.shape)} with the student's "
                f'{tuple(student.shape)}: images are not of the size that it was made for'
            )
        return F.mse_loss(student, teacher)
