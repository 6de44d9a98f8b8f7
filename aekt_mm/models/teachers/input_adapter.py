"""From the student's images to those that a teacher was trained on.

All of it is here: the teacher's normalisation in place of the student's, and the order of its
channels. What order the student's are in is a property of its data, see
:mod:`aekt_mm.structures.channel_order`.
"""

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils.data import DataLoader

from aekt_mm.structures import SWAPPED, config_order, data_order, input_order

from ..classifiers import config_file
from ..data_preprocessors import BatchPreprocessor


class InputAdapter(nn.Module):
    """Undo the student's normalisation and apply the teacher's, in one affine map.

    Args:
        data_preprocessor: ``mean`` and ``std`` of the teacher, of pixels in [0, 255], channels in
            its order. None: those of ``default``.
        channel_order: 'RGB' or 'BGR', what the teacher was trained on.
        default: The preprocessor that the teacher's network comes with, if any. Where it has no
            mean either, the teacher takes images normalised as the student's.

    Raises:
        ValueError: If an option is not one of these.
    """

    def __init__(
        self, data_preprocessor: dict | None, channel_order: str, default: Any = None
    ) -> None:
        super().__init__()
        if 'to_rgb' in (data_preprocessor or {}):
            raise ValueError(
                'data_preprocessor of a teacher takes no to_rgb, which is what is done to the '
                "student's images: leave it out where the teacher was trained on RGB, or set "
                "channel_order='BGR'"
            )
        if channel_order not in SWAPPED:
            raise ValueError(f"channel_order must be 'RGB' or 'BGR', but is {channel_order!r}")
        if _option(default, 'mean') is None:
            default = None  # no normalisation
        self.__dict__['own'] = data_preprocessor or default  # may be a module, with its own device
        self.channel_order = channel_order
        self.swap_channels = False
        #: Whether the student's channels are in an order that only the data can tell.
        self.unsure = False
        self.register_buffer('scale', None, persistent=False)
        self.register_buffer('shift', None, persistent=False)

    def identity(self) -> dict:
        """Return what the teacher takes images for."""
        mean, std = _normalisation(self.own)
        return {
            'channel_order': self.channel_order,
            'mean': None if self.own is None else mean.flatten().tolist(),
            'std': None if self.own is None else std.flatten().tolist(),
        }

    def attach(self, loader: DataLoader | None, preprocessor: Any) -> None:
        """Get to know the student's images.

        Args:
            loader: Of the data. Without, they are supposed to be RGB.
            preprocessor: What prepares them, with mean and std (3, 1, 1) as mmpretrain's
                ``ClsDataPreprocessor``.
        """
        if loader is None:
            order = 'RGB'
            # a student that swaps nothing sees RGB, as of arrays, or else files as they are
            swaps_nothing = getattr(preprocessor, 'to_rgb', None) is False
            self.unsure = swaps_nothing and not isinstance(preprocessor, BatchPreprocessor)
        else:
            order = input_order(data_order(loader.dataset), preprocessor)
            self.unsure = False
        self.swap_channels = self.channel_order != order
        self.scale = self.shift = None
        if self.own is None:
            return
        student_mean, student_std = _normalisation(preprocessor)
        mean, std = _normalisation(self.own)
        if self.swap_channels:
            student_mean, student_std = student_mean.flip(0), student_std.flip(0)
        scale, shift = student_std / std, (student_mean - mean) / std
        if not (scale.equal(torch.ones_like(scale)) and shift.equal(torch.zeros_like(shift))):
            device = getattr(preprocessor, 'device', None)
            self.scale, self.shift = (t.to(device, torch.float32) for t in (scale, shift))

    def forward(self, images: Tensor) -> Tensor:
        """Return the teacher's images of the student's, both (N, 3, H, W), floating point."""
        if self.unsure:
            self._say_what_is_supposed()
        images = images.flip(1) if self.swap_channels else images
        return images if self.scale is None else torch.addcmul(self.shift, images, self.scale)

    @torch.compiler.disable
    def _say_what_is_supposed(self) -> None:
        """Warn, once. In a run the distiller has refused it."""
        self.unsure = False
        print_log(
            f"The teacher, trained on {self.channel_order}, takes the student's images for RGB, "
            'but has not been shown the data: call teacher.attach(loader, data_preprocessor)',
            logger='current',
            level=30,
        )


def trained_order(spec: dict | str | Path | nn.Module) -> str:
    """Return the order of the channels that a classifier was trained on.

    A config file says what its images are and what is done to them: mmpretrain's MobileViT is
    trained on files, which are BGR, as they are. Of anything else RGB is supposed.

    Args:
        spec: As for :func:`~aekt_mm.models.classifiers.build_classifier`.

    Returns:
        'RGB' or 'BGR'.
    """
    if isinstance(spec, str | Path):
        config = Config.fromfile(config_file(str(spec)))
    else:  # mmpretrain.get_model leaves the config in the model
        config = getattr(spec, '_config', None)
    if config is None:
        return 'RGB'
    return config_order(config, config.model.get('data_preprocessor'))


def _normalisation(preprocessor: Any) -> tuple[Tensor, Tensor]:
    """Return mean and std, (3, 1, 1) float64, on the CPU."""
    mean, std = (
        torch.as_tensor(default if value is None else value, dtype=torch.float64).cpu()
        for value, default in (
            (_option(preprocessor, 'mean'), [0.0]),
            (_option(preprocessor, 'std'), [1.0]),
        )
    )
    return mean.view(-1, 1, 1), std.view(-1, 1, 1)


def _option(preprocessor: Any, name: str) -> Any:
    if isinstance(preprocessor, dict):
        return preprocessor.get(name)
    return getattr(preprocessor, name, None)
