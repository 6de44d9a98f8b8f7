"""MicroNet, a strong network of few parameters for 32x32 images."""

from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn

#: The blocks: their channels, how many times as many they have within, and their stride.
BLOCKS = (
    (16, 1, 1),
    (24, 6, 1),
    (40, 6, 2),
    (40, 6, 1),
    (48, 6, 1),
    (64, 6, 1),
    (64, 6, 1),
    (80, 6, 2),
    (80, 6, 1),
    (96, 6, 1),
)

#: Channels before the blocks, and of the last feature map.
STEM, HEAD = 24, 136


# Students are published with a copy of this file, which may meet the installed package: force.
@MODELS.register_module(force=True)
class MicroNet(BaseModule):
    """A small EfficientNet for CIFAR-100, found by a search for architectures.

    As the team OSI AI entered it in the MicroNet challenge of 2019 (Lee-Gihun/MicroNet_OSI-AI), but
    for its early exit, and with pruning masks and ghost batch norms folded into the weights: 80 %
    on CIFAR-100 with 483,192 parameters. Images are enlarged to 63x63 first.

    A ``GlobalAveragePooling`` neck and a ``LinearClsHead`` of ``in_channels=136`` make the
    classifier. Parameters have the entry's names: its ``_fc.`` is ``head.fc.`` of the
    ``ImageClassifier``, and all others get the prefix ``backbone.``.

    Args:
        init_cfg: How MMEngine initialises the parameters; as torch does by default.

    Examples:
        >>> import torch
        >>> [features] = MicroNet()(torch.zeros(2, 3, 32, 32))
        >>> features.shape
        torch.Size([2, 136, 7, 7])
    """

    def __init__(self, init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg)
        self.enlarge = nn.Upsample(63, mode='nearest')  # ceil(1.4² · 32), as the search chose
        self.act = nn.SiLU()
        self.pad = _padding(stride=2)
        self._conv_stem = nn.Conv2d(3, STEM, 3, stride=2, bias=False)
        self._bn0 = nn.BatchNorm2d(STEM)
        self._blocks = nn.Sequential()
        channels = STEM
        for out_channels, expansion, stride in BLOCKS:
            self._blocks.append(_Block(channels, out_channels, expansion, stride))
            channels = out_channels
        self._conv_head = nn.Conv2d(channels, HEAD, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(HEAD)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return the last feature map.

        Args:
            x: Images (N, 3, H, W), H and W 32 in the challenge.

        Returns:
            One feature map (N, 136, 7, 7).
        """
        x = self.act(self._bn0(self._conv_stem(self.pad(self.enlarge(x)))))
        return (self.act(self._bn1(self._conv_head(self._blocks(x)))),)


class _Block(nn.Module):
    """An inverted residual with squeeze and excitation."""

    def __init__(self, in_channels: int, out_channels: int, expansion: int, stride: int) -> None:
        super().__init__()
        width, squeezed = in_channels * expansion, in_channels // 5
        self.expands = expansion > 1
        self.skips = stride == 1 and in_channels == out_channels
        self.act = nn.SiLU()
        if self.expands:
            self._expand_conv = nn.Conv2d(in_channels, width, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(width)
        self.pad = _padding(stride)
        self._conv = nn.Conv2d(width, width, 3, stride, groups=width, bias=False)
        self._bn1 = nn.BatchNorm2d(width)
        self._se_reduce = nn.Conv2d(width, squeezed, 1)
        self._se_expand = nn.Conv2d(squeezed, width, 1)
        self._project_conv = nn.Conv2d(width, out_channels, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self._bn0(self._expand_conv(x))) if self.expands else x
        y = self.act(self._bn1(self._conv(self.pad(y))))
        excitation = self._se_expand(self.act(self._se_reduce(y.mean((2, 3), keepdim=True))))
        y = self._bn2(self._project_conv(y * excitation.sigmoid()))
        return x + y if self.skips else y


def _padding(stride: int) -> nn.ZeroPad2d:
    """What goes around a map before a 3x3 convolution, as in TensorFlow: a stride skips a side."""
    return nn.ZeroPad2d((0, 1, 0, 1) if stride == 2 else 1)
