"""Augmentation of a whole batch on the device, each image by its view.

The draws are those of :func:`aekt_mm.structures.draw`: an image's are the same in whatever batch it
comes, on every device. torchvision's transforms draw once for a batch and kornia's from torch's
global generator, in the order of the batch; neither can take an image's draws from its view.
"""

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from aekt_mm.structures import draw

#: YIQ of B, G and R (NTSC, 1953): brightness (of ITU-R BT.601), and a plane of colours in which
#: hue is an angle.
YIQ = ((0.114, 0.587, 0.299), (-0.322, -0.274, 0.596), (0.312, -0.523, 0.211))
YIQ_INVERSE = tuple(map(tuple, torch.tensor(YIQ).inverse().tolist()))


@lru_cache
def _constant(values: tuple, device: torch.device) -> Tensor:
    """Return numbers as a float32 tensor, copied to the device once: a copy waits for it."""
    return torch.tensor(values, dtype=torch.float32, device=device)


class ViewAugmentation:
    """Flip, colour jitter and erasing, drawn from the images' views.

    Images are BGR, as mmcv reads them.

    Args:
        flip: Whether to mirror half of the images.
        color_jitter: Any of ``brightness``, ``contrast`` and ``saturation``, whose factors are
            drawn from [max(0, 1 - x), 1 + x], and ``hue``, at most 0.5, whose turn is drawn from
            [-x, x] full circles. In an order of its own for each image, as torchvision's
            ``ColorJitter``; but pixels are clamped once, at the end, and hue is turned in YIQ
            (as NVIDIA DALI does it) and not in HSV, so that all four are one linear map.
        erasing: ``prob``, how many images lose a rectangle (0.25); ``area``, the range of its share
            of the image (0.02, 1/3); ``aspect``, the range of its height over its width
            (0.3, 1/0.3). Random erasing of Zhong et al. (2020), filled with ``fill_color``, BGR in
            [0, 255] (the mean colour of ImageNet).

    Raises:
        ValueError: If an option is unknown or out of its range.
    """

    def __init__(
        self, flip: bool = False, color_jitter: dict | None = None, erasing: dict | None = None
    ) -> None:
        self.flip = flip
        self.color_jitter = None
        if color_jitter is not None:
            self.color_jitter = _options(
                'color_jitter',
                color_jitter,
                dict(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0),
            )
            for name, value in self.color_jitter.items():
                most = 0.5 if name == 'hue' else math.inf
                if not 0 <= value <= most:
                    raise ValueError(
                        f'{name} of color_jitter must be at least 0'
                        + (f' and at most {most}' if name == 'hue' else '')
                        + f', but is {value!r}'
                    )
        self.erasing = None
        if erasing is not None:
            known = dict[str, Any](
                prob=0.25,
                area=(0.02, 1 / 3),
                aspect=(0.3, 1 / 0.3),
                fill_color=(103.53, 116.28, 123.675),
            )
            self.erasing = _options('erasing', erasing, known)
            (least, most), aspect = self.erasing['area'], self.erasing['aspect']
            if not (0 <= self.erasing['prob'] <= 1 and 0 < least <= most <= 1):
                raise ValueError(f'prob and area of erasing must be in [0, 1], but are {erasing!r}')
            if not 0 < aspect[0] <= aspect[1]:
                raise ValueError(f'aspect of erasing must be a range above 0, but is {aspect!r}')

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        """Augment a batch.

        Args:
            images: (N, 3, H, W) in [0, 255].
            keys: Of the images' views, (N,) int64, on their device.

        Returns:
            (N, 3, H, W): as they were, or float32 where colours are jittered.
        """
        side, *draws = draw(keys, 15)
        if self.flip:
            images = torch.where((side < 0.5)[:, None, None, None], images.flip(3), images)
        if self.color_jitter is not None:
            images = jitter(images, torch.stack(draws[:8]), self.color_jitter)
        if self.erasing is not None:
            images = erase(images, torch.stack(draws[8:13]), self.erasing)
        return images


def jitter(images: Tensor, draws: Tensor, ranges: dict) -> Tensor:
    """Change brightness, contrast, saturation and hue, in one linear map of each image's colours.

    Args:
        images: (N, 3, H, W) in [0, 255].
        draws: (8, N) in [0, 1): four for the changes, four for their order.
        ranges: Of the changes, see :class:`ViewAugmentation`.

    Returns:
        (N, 3, H, W) float32 in [0, 255].
    """
    images, draws = images.float(), draws.float()
    brightness, contrast, saturation = (
        max(0.0, 1 - x) + (1 + x - max(0.0, 1 - x)) * draws[k]
        for k, x in enumerate((ranges['brightness'], ranges['contrast'], ranges['saturation']))
    )
    angle = 2 * math.pi * ranges['hue'] * (2 * draws[3] - 1)

    grey = _constant(YIQ[0], images.device)
    same = torch.eye(3, device=images.device)
    to_grey = grey.expand(3, 3)  # each channel becomes the grey of all
    matrices = torch.stack(
        [
            brightness[:, None, None] * same,
            contrast[:, None, None] * same,
            to_grey + saturation[:, None, None] * (same - to_grey),
            _hue_matrices(angle),
        ]
    )
    # contrast moves colours from the image's mean grey, which the changes before it have changed
    mean = images.mean((2, 3))
    matrix, offset = same.expand(len(images), 3, 3), torch.zeros_like(mean)
    which = torch.arange(len(images), device=images.device)
    for step in draws[4:].argsort(0):
        change = matrices[step, which]
        middle = (((matrix @ mean[..., None])[..., 0] + offset) @ grey)[:, None]
        shift = torch.where((step == 1)[:, None], (1 - contrast[:, None]) * middle, 0.0)
        matrix, offset = change @ matrix, (change @ offset[..., None])[..., 0] + shift
    jittered = torch.einsum('nij,njhw->nihw', matrix, images)
    return jittered.add_(offset[..., None, None]).clamp_(0, 255)


def _hue_matrices(angle: Tensor) -> Tensor:
    """Return (N, 3, 3) maps of BGR that turn hue by angles (N,), in radians."""
    yiq, inverse = (_constant(values, angle.device) for values in (YIQ, YIQ_INVERSE))
    turn = torch.zeros(len(angle), 3, 3, device=angle.device)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = angle.cos()
    turn[:, 1, 2], turn[:, 2, 1] = -angle.sin(), angle.sin()
    return inverse @ turn @ yiq


def erase(images: Tensor, draws: Tensor, options: dict) -> Tensor:
    """Fill a rectangle of some images with a colour.

    Args:
        images: (N, 3, H, W) in [0, 255].
        draws: (5, N) in [0, 1): whether, area, aspect, and where.
        options: See :class:`ViewAugmentation`.

    Returns:
        (N, 3, H, W).
    """
    height, width = images.shape[2:]
    least, most = options['area']
    narrow, wide = (math.log(limit) for limit in options['aspect'])
    area = (least + (most - least) * draws[1]) * height * width
    aspect = (narrow + (wide - narrow) * draws[2]).exp()
    tall = (area * aspect).sqrt().round().clamp(1, height)
    broad = (area / aspect).sqrt().round().clamp(1, width)
    top = (draws[3] * (height - tall + 1)).floor()
    left = (draws[4] * (width - broad + 1)).floor()
    row = torch.arange(height, device=images.device)
    column = torch.arange(width, device=images.device)
    rows = (row >= top[:, None]) & (row < (top + tall)[:, None])
    columns = (column >= left[:, None]) & (column < (left + broad)[:, None])
    chosen = (draws[0] < options['prob'])[:, None, None]
    inside = chosen & rows[:, :, None] & columns[:, None, :]
    color = _constant(tuple(options['fill_color']), images.device)
    if not images.is_floating_point():
        color = color.round()
    return torch.where(inside[:, None], color.to(images.dtype)[:, None, None], images)


def _options(name: str, given: dict, known: dict) -> dict[str, Any]:
    unknown = [option for option in given if option not in known]
    if unknown:
        raise ValueError(f'{name} has no option {unknown[0]!r}: it has {", ".join(known)}')
    return {**known, **given}
