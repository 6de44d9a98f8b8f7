"""Wide residual networks for 32x32 images, as the distillation literature defines them."""

from collections import OrderedDict

from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn

#: Normal with the fan-out, as the literature does it (and MMEngine unless told otherwise).
KAIMING = dict(type='Kaiming', layer='Conv2d')


class PreactivationBlock(nn.Module):
    """Batch norm and ReLU before each of two convolutions, and a shortcut.

    Where the number of channels changes, the shortcut is a 1x1 convolution of the activated input.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.convShortcut = None
        if in_channels != channels:
            self.convShortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        activated = self.relu(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(activated)
        return shortcut + self.conv2(self.relu(self.bn2(self.conv1(activated))))


# Students are published with a copy of this file, which may meet the installed package: force.
@MODELS.register_module(force=True)
class CIFARWideResNet(BaseModule):
    """A wide ResNet of 6n + 4 layers in three stages, for 32x32 images.

    WRN-d-w of Zagoruyko and Komodakis (2016, arXiv 1605.07146) without dropout, as RepDistiller
    and mdistiller define wrn_16_1, wrn_16_2, wrn_40_1 and wrn_40_2.

    A ``GlobalAveragePooling`` neck and a ``LinearClsHead`` of ``in_channels=64 * widen_factor``
    make the classifier. Parameters have RepDistiller's names: its ``fc.`` is ``head.fc.`` of the
    ``ImageClassifier``, and all others get the prefix ``backbone.``.

    The literature draws the weight of ``fc`` as torch does and sets its bias to zero, which is
    ``init_cfg=dict(type='Kaiming', layer='Linear', a=5**0.5, mode='fan_in',
    nonlinearity='leaky_relu', distribution='uniform')`` in the config of the head.

    Args:
        depth: The number of layers, 6n + 4 with n ≥ 1.
        widen_factor: Multiple of the stages' 16, 32 and 64 channels.
        init_cfg: How MMEngine initialises the parameters; the literature's way by default.

    Raises:
        ValueError: If there is no such network.

    Examples:
        >>> import torch
        >>> [features] = CIFARWideResNet(depth=16, widen_factor=2)(torch.zeros(2, 3, 32, 32))
        >>> features.shape
        torch.Size([2, 128, 8, 8])
    """

    def __init__(
        self, depth: int, widen_factor: int, init_cfg: dict | list[dict] | None = KAIMING
    ) -> None:
        super().__init__(init_cfg)
        blocks, remainder = divmod(depth - 4, 6)
        if blocks < 1 or remainder:
            raise ValueError(f'depth must be 6n + 4 with n ≥ 1 (10, 16, 22, ...), not {depth}')
        if widen_factor < 1 or widen_factor != int(widen_factor):
            raise ValueError(f'widen_factor must be a whole number from 1, not {widen_factor}')
        first, second, third = (channels * widen_factor for channels in (16, 32, 64))
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.block1 = _stage(blocks, 16, first, stride=1)
        self.block2 = _stage(blocks, first, second, stride=2)
        self.block3 = _stage(blocks, second, third, stride=2)
        self.bn1 = nn.BatchNorm2d(third)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return the last feature map.

        Args:
            x: Images (N, 3, H, W), H and W 32 in the literature.

        Returns:
            One feature map (N, 64 * widen_factor, H / 4, W / 4).
        """
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return (self.relu(self.bn1(x)),)


def _stage(blocks: int, in_channels: int, channels: int, stride: int) -> nn.Sequential:
    first = PreactivationBlock(in_channels, channels, stride)
    others = (PreactivationBlock(channels, channels, 1) for _ in range(blocks - 1))
    # the literature's parameters are called block1.layer.0.conv1.weight
    return nn.Sequential(OrderedDict(layer=nn.Sequential(first, *others)))
