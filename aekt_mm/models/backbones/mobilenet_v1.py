"""MobileNetV1 for ImageNet, as the distillation literature defines it."""

from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn

#: Channels and stride of the thirteen depthwise separable convolutions.
LAYERS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)


# Students are published with a copy of this file, which may meet the installed package: force.
@MODELS.register_module(force=True)
class MobileNetV1(BaseModule):
    """MobileNetV1 of full width, for ImageNet.

    The network of Howard et al. (2017, arXiv 1704.04861), the student of ResNet-50 in the
    distillation literature, as mdistiller defines it.

    A ``GlobalAveragePooling`` neck and a ``LinearClsHead`` of ``in_channels=1024`` make the
    classifier. Parameters have mdistiller's names: its ``fc.`` is ``head.fc.`` of the
    ``ImageClassifier``, and all others get the prefix ``backbone.``.

    The literature leaves the initialisation to torch, and so does this; give the head
    ``init_cfg=None`` for the same.

    Args:
        init_cfg: How MMEngine initialises the parameters.

    Examples:
        >>> import torch
        >>> [features] = MobileNetV1()(torch.zeros(2, 3, 64, 64))
        >>> features.shape
        torch.Size([2, 1024, 2, 2])
    """

    def __init__(self, init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg)
        before = (32, *(channels for channels, _ in LAYERS))
        self.model = nn.Sequential(
            nn.Sequential(*_convolution(3, 32, 3, stride=2)),
            *(
                nn.Sequential(
                    *_convolution(in_channels, in_channels, 3, stride, groups=in_channels),
                    *_convolution(in_channels, channels, 1),
                )
                for in_channels, (channels, stride) in zip(before, LAYERS)
            ),
        )

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return the last feature map.

        Args:
            x: Images (N, 3, H, W), H and W 224 in the literature.

        Returns:
            One feature map (N, 1024, H / 32, W / 32).
        """
        return (self.model(x),)


def _convolution(
    in_channels: int, channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    ]
