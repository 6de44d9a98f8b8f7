"""ResNets for 32x32 images, as the distillation literature defines them."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

#: Normal with the fan-out, as the literature does it (and MMEngine unless told otherwise).
KAIMING = dict(type='Kaiming', layer='Conv2d')


class PickingConv2d(nn.Conv2d):
    """A strided 1x1 convolution that picks its pixels first.

    For channels that are no multiples of 16: with these torch 2.14's own, channels-last on a CPU
    with AVX-512, writes past its memory in the backward pass.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        rows, columns = self.stride
        return F.conv2d(x[..., ::rows, ::columns], self.weight, self.bias)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, through a 1x1 convolution where the shape changes."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or in_channels != channels:
            conv = PickingConv2d if in_channels % 16 or channels % 16 else nn.Conv2d
            self.downsample = nn.Sequential(
                conv(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + shortcut)


# Students are published with a copy of this file, which may meet the installed package: force.
@MODELS.register_module(force=True)
class CIFARResNet(BaseModule):
    """A ResNet of 6n + 2 layers in three stages, for 32x32 images.

    The networks that RepDistiller and mdistiller call resnet8, 14, 20, 32, 44, 56 and 110 and,
    with ``stage_channels=(32, 64, 128, 256)``, resnet8x4 and resnet32x4. It is the ResNet of He et
    al. (2016, arXiv 1512.03385, section 4.2), with 1x1 convolutions in the shortcuts.

    A ``GlobalAveragePooling`` neck and a ``LinearClsHead`` of ``in_channels=stage_channels[-1]``
    make the classifier. Parameters have RepDistiller's names: its ``fc.`` is ``head.fc.`` of the
    ``ImageClassifier``, and all others get the prefix ``backbone.``.

    The literature leaves the initialisation of ``fc`` to torch. ``LinearClsHead`` draws from
    N(0, 0.01²) unless its config says ``init_cfg=None``, which leaves it to torch as well.

    Args:
        depth: The number of layers, 6n + 2 with n ≥ 1.
        stage_channels: Channels of the stem and of the three stages.
        in_channels: Channels of the images.
        init_cfg: How MMEngine initialises the parameters; the literature's way by default.

    Raises:
        ValueError: If there is no such network.

    Examples:
        >>> import torch
        >>> [features] = CIFARResNet(depth=20)(torch.zeros(2, 3, 32, 32))
        >>> features.shape
        torch.Size([2, 64, 8, 8])
    """

    def __init__(
        self,
        depth: int,
        stage_channels: Sequence[int] = (16, 16, 32, 64),
        in_channels: int = 3,
        init_cfg: dict | list[dict] | None = KAIMING,
    ) -> None:
        super().__init__(init_cfg)
        blocks, remainder = divmod(depth - 2, 6)
        if blocks < 1 or remainder:
            raise ValueError(f'depth must be 6n + 2 with n ≥ 1 (8, 14, 20, ...), not {depth}')
        if len(stage_channels) != 4 or min(stage_channels) < 1:
            raise ValueError(
                'stage_channels must be four positive numbers, of the stem and of three stages, '
                f'not {stage_channels}'
            )
        stem, *stages = stage_channels
        self.conv1 = nn.Conv2d(in_channels, stem, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(blocks, stem, stages[0], stride=1)
        self.layer2 = _stage(blocks, stages[0], stages[1], stride=2)
        self.layer3 = _stage(blocks, stages[1], stages[2], stride=2)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return the last feature map.

        Args:
            x: Images (N, in_channels, H, W), H and W 32 in the literature.

        Returns:
            One feature map (N, stage_channels[-1], H / 4, W / 4).
        """
        x = self.relu(self.bn1(self.conv1(x)))
        return (self.layer3(self.layer2(self.layer1(x))),)


def _stage(blocks: int, in_channels: int, channels: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))
