"""ShuffleNetV2 for 32x32 images, as the distillation literature defines it."""

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn

#: Number of units and channels of each stage.
STAGES = ((4, 116), (8, 232), (4, 464))


class BasicUnit(nn.Module):
    """Half the channels through three convolutions, the other half as they are, and a shuffle."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(half, half, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)
        self.relu = nn.ReLU(inplace=True)
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to (N, channels, H, W)."""
        same, out = x.chunk(2, dim=1)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(out)))))
        out = self.relu(self.bn3(self.conv3(out)))
        return self.shuffle(torch.cat([same, out], dim=1))


class DownUnit(nn.Module):
    """Two branches of stride 2 from all channels, (1, 2) and (3, 4, 5), and a shuffle."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(
            in_channels, in_channels, 3, stride=2, padding=1, groups=in_channels, bias=False
        )
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv2 = nn.Conv2d(in_channels, half, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(in_channels, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv4 = nn.Conv2d(half, half, 3, stride=2, padding=1, groups=half, bias=False)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = nn.Conv2d(half, half, 1, bias=False)
        self.bn5 = nn.BatchNorm2d(half)
        self.relu = nn.ReLU(inplace=True)
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H / 2, W / 2)."""
        left = self.relu(self.bn2(self.conv2(self.bn1(self.conv1(x)))))
        right = self.bn4(self.conv4(self.relu(self.bn3(self.conv3(x)))))
        right = self.relu(self.bn5(self.conv5(right)))
        return self.shuffle(torch.cat([left, right], dim=1))


# Students are published with a copy of this file, which may meet the installed package: force.
@MODELS.register_module(force=True)
class CIFARShuffleNetV2(BaseModule):
    """ShuffleNetV2 of full width, for 32x32 images.

    The network that RepDistiller and mdistiller call ShuffleV2. It differs from that of Ma et al.
    (2018, arXiv 1807.11164) and of mmpretrain in the stem alone: one 1x1 convolution that keeps
    the resolution.

    A ``GlobalAveragePooling`` neck and a ``LinearClsHead`` of ``in_channels=1024`` make the
    classifier. Parameters have RepDistiller's names: its ``linear.`` is ``head.fc.`` of the
    ``ImageClassifier``, and all others get the prefix ``backbone.``.

    The literature leaves the initialisation to torch, and so does this; give the head
    ``init_cfg=None`` for the same.

    Args:
        init_cfg: How MMEngine initialises the parameters.

    Examples:
        >>> import torch
        >>> [features] = CIFARShuffleNetV2()(torch.zeros(2, 3, 32, 32))
        >>> features.shape
        torch.Size([2, 1024, 4, 4])
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
        self.conv2 = nn.Conv2d(before[-1], 1024, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(1024)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return the last feature map.

        Args:
            x: Images (N, 3, H, W), H and W 32 in the literature.

        Returns:
            One feature map (N, 1024, H / 8, W / 8).
        """
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return (self.relu(self.bn2(self.conv2(x))),)


def _stage(units: int, in_channels: int, channels: int) -> nn.Sequential:
    first = DownUnit(in_channels, channels)
    return nn.Sequential(first, *(BasicUnit(channels) for _ in range(units - 1)))
