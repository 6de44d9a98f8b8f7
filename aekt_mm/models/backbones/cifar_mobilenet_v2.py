"""MobileNetV2 for 32x32 images, as the distillation literature defines it."""

from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn

#: Normal with the fan-out, as the literature does it (and MMEngine unless told otherwise).
KAIMING = dict(type='Kaiming', layer='Conv2d')

#: Expansion, channels at full width, number of blocks and stride of the first, for each stage.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """A wide depthwise convolution between two 1x1 convolutions, and a shortcut where it fits."""

    def __init__(self, in_channels: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = in_channels * expansion
        self.shortcut = stride == 1 and in_channels == channels
        self.conv = nn.Sequential(
            *_convolution(in_channels, wide, 1),  # also where there is nothing to expand
            *_convolution(wide, wide, 3, stride, groups=wide),
            nn.Conv2d(wide, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        return x + self.conv(x) if self.shortcut else self.conv(x)


# Students are published with a copy of this file, which may meet the installed package: force.
@MODELS.register_module(force=True)
class CIFARMobileNetV2(BaseModule):
    """MobileNetV2 of half the width, for 32x32 images.

    The network that RepDistiller and mdistiller call MobileNetV2 (mobile_half). It differs from
    that of Sandler et al. (2018, arXiv 1801.04381) and of mmpretrain in that the second stage
    keeps the resolution, activations are ReLU, not ReLU6, the first block has a 1x1 convolution
    before its depthwise one, and channels are not rounded to multiples of 8.

    A ``GlobalAveragePooling`` neck and a ``LinearClsHead`` of ``in_channels=1280`` make the
    classifier; the literature initialises the head as ``LinearClsHead`` does. Parameters have
    RepDistiller's names: its ``classifier.0.`` is ``head.fc.`` of the ``ImageClassifier``, and all
    others get the prefix ``backbone.``.

    Args:
        widen_factor: Multiple of the channels at full width, all but the last 1280, at most 1.
        init_cfg: How MMEngine initialises the parameters; the literature's way by default.

    Raises:
        ValueError: If there is no such network.

    Examples:
        >>> import torch
        >>> [features] = CIFARMobileNetV2()(torch.zeros(2, 3, 32, 32))
        >>> features.shape
        torch.Size([2, 1280, 2, 2])
    """

    def __init__(
        self, widen_factor: float = 0.5, init_cfg: dict | list[dict] | None = KAIMING
    ) -> None:
        super().__init__(init_cfg)
        if not 1 / 16 <= widen_factor <= 1:
            raise ValueError(f'widen_factor must be from 1/16 to 1, not {widen_factor}')
        channels = int(32 * widen_factor)
        self.conv1 = nn.Sequential(*_convolution(3, channels, 3, stride=2))
        self.blocks = nn.Sequential()
        for expansion, full_width, blocks, stride in STAGES:
            stage = nn.Sequential()
            for i in range(blocks):
                in_channels, channels = channels, int(full_width * widen_factor)
                stage.append(InvertedResidual(in_channels, channels, 1 if i else stride, expansion))
            self.blocks.append(stage)
        self.conv2 = nn.Sequential(*_convolution(channels, 1280, 1))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return the last feature map.

        Args:
            x: Images (N, 3, H, W), H and W 32 in the literature.

        Returns:
            One feature map (N, 1280, H / 16, W / 16).
        """
        return (self.conv2(self.blocks(self.conv1(x))),)


def _convolution(
    in_channels: int, channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    ]
