"""ShuffleNetV1 for 32x32 images, as the distillation literature defines it."""

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn

GROUPS = 3

#: Number of units and channels of each stage.
STAGES = ((4, 240), (8, 480), (4, 960))


class ShuffleUnit(nn.Module):
    """Two grouped 1x1 convolutions around a shuffle and a depthwise one, and a shortcut.

    A unit of stride 2 joins the pooled input to its result instead of adding it.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.shortcut: nn.AvgPool2d | None
        if stride == 2:
            channels -= in_channels
            self.shortcut = nn.AvgPool2d(3, stride=2, padding=1)
        else:
            self.shortcut = None
        narrow = channels // 4
        # the few channels of the stem are mixed without groups
        groups = 1 if in_channels == 24 else GROUPS
        self.conv1 = nn.Conv2d(in_channels, narrow, 1, groups=groups, bias=False)
        self.bn1 = nn.BatchNorm2d(narrow)
        self.shuffle = nn.ChannelShuffle(groups)
        self.conv2 = nn.Conv2d(narrow, narrow, 3, stride, padding=1, groups=narrow, bias=False)
        self.bn2 = nn.BatchNorm2d(narrow)
        self.conv3 = nn.Conv2d(narrow, channels, 1, groups=GROUPS, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        out = self.shuffle(self.relu(self.bn1(self.conv1(x))))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.shortcut is None:
            return self.relu(out + x)
        return self.relu(torch.cat([out, self.shortcut(x)], dim=1))


# Students are published with a copy of this file, which may meet the installed package: force.
@MODELS.register_module(force=True)
class CIFARShuffleNetV1(BaseModule):
    """ShuffleNetV1 of three groups, for 32x32 images.

    The network that RepDistiller and mdistiller call ShuffleV1. It differs from that of Zhang et
    al. (2017, arXiv 1707.01083) and of mmpretrain in the stem, one 1x1 convolution that keeps the
    resolution, in the width of the units of stride 2, and in a ReLU after the depthwise
    convolution.

    A ``GlobalAveragePooling`` neck and a ``LinearClsHead`` of ``in_channels=960`` make the
    classifier. Parameters have RepDistiller's names: its ``linear.`` is ``head.fc.`` of the
    ``ImageClassifier``, and all others get the prefix ``backbone.``.

    The literature leaves the initialisation to torch, and so does this; give the head
    ``init_cfg=None`` for the same.

    Args:
        init_cfg: How MMEngine initialises the parameters.

    Examples:
        >>> import torch
        >>> [features] = CIFARShuffleNetV1()(torch.zeros(2, 3, 32, 32))
        >>> features.shape
        torch.Size([2, 960, 4, 4])
    """

    def __init__(self, init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg)
        self.conv1 = nn.Conv2d(3, 24, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(24)
        self.relu = nn.ReLU(inplace=True)
        before = (24, *(channels for _, channels in STAGES))
        self.layer1, self.layer2, self.layer3 = (
            _stage(units, in_channels, channels)
            for in_channels, (units, channels) in zip(before, STAGES)
        )

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return the last feature map.

        Args:
            x: Images (N, 3, H, W), H and W 32 in the literature.

        Returns:
            One feature map (N, 960, H / 8, W / 8).
        """
        x = self.relu(self.bn1(self.conv1(x)))
        return (self.layer3(self.layer2(self.layer1(x))),)


def _stage(units: int, in_channels: int, channels: int) -> nn.Sequential:
    first = ShuffleUnit(in_channels, channels, 2)
    return nn.Sequential(first, *(ShuffleUnit(channels, channels, 1) for _ in range(units - 1)))
