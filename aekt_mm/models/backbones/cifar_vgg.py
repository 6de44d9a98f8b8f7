"""VGGs for 32x32 images, as the distillation literature defines them."""

from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn

#: Normal with the fan-out and no bias, as the literature does it (and MMEngine unless told
#: otherwise).
KAIMING = dict(type='Kaiming', layer='Conv2d')

#: Channels of the five stages.
CHANNELS = (64, 128, 256, 512, 512)

#: Convolutions in each of the five stages, by depth.
CONVOLUTIONS = {
    8: (1, 1, 1, 1, 1),
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


# Students are published with a copy of this file, which may meet the installed package: force.
@MODELS.register_module(force=True)
class CIFARVGG(BaseModule):
    """A VGG with batch norm and one linear layer, for 32x32 images.

    The convolutions of Simonyan and Zisserman (2014, arXiv 1409.1556), as RepDistiller and
    mdistiller define vgg8 to vgg19: maximum pooling after the first three stages, none between the
    last two, and global average pooling at the end. (mdistiller pools a fourth time where images
    are 64x64.)

    A ``GlobalAveragePooling`` neck and a ``LinearClsHead`` of ``in_channels=512`` make the
    classifier; the literature initialises the head as ``LinearClsHead`` does. Parameters have
    RepDistiller's names: its ``classifier.`` is ``head.fc.`` of the ``ImageClassifier``, and all
    others get the prefix ``backbone.``.

    Args:
        depth: The number of layers: 8, 11, 13, 16 or 19 (the names count VGG's three linear
            layers, though there is one).
        init_cfg: How MMEngine initialises the parameters; the literature's way by default.

    Raises:
        ValueError: If there is no such network.

    Examples:
        >>> import torch
        >>> [features] = CIFARVGG(depth=8)(torch.zeros(2, 3, 32, 32))
        >>> features.shape
        torch.Size([2, 512, 4, 4])
    """

    def __init__(self, depth: int, init_cfg: dict | list[dict] | None = KAIMING) -> None:
        super().__init__(init_cfg)
        if depth not in CONVOLUTIONS:
            raise ValueError(f'depth must be one of {tuple(CONVOLUTIONS)}, not {depth}')
        before = (3, *CHANNELS)
        self.block0, self.block1, self.block2, self.block3, self.block4 = (
            _stage(*sizes) for sizes in zip(CONVOLUTIONS[depth], before, CHANNELS)
        )
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return the last feature map.

        Args:
            x: Images (N, 3, H, W), H and W 32 in the literature.

        Returns:
            One feature map (N, 512, H / 8, W / 8).
        """
        for stage in (self.block0, self.block1, self.block2):
            x = self.pool(stage(x))
        return (self.block4(self.block3(x)),)


def _stage(convolutions: int, in_channels: int, channels: int) -> nn.Sequential:
    layers = []
    for i in range(convolutions):
        layers += [
            nn.Conv2d(channels if i else in_channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
