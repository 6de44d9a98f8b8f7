"""Partial decoding: no more of an image than its crop needs."""

import math
from collections.abc import Callable

import mmcv
import numpy as np

from .jpeg_tiles import Box, cut, read_header

try:
    import simplejpeg
except ImportError:
    simplejpeg = None


def decode_crop(
    data: bytes, choose: Callable[[int, int], Box], crop: np.ndarray, interpolation: str
) -> None:
    """Decode a crop of an image and resize it.

    A JPEG is decoded at the smallest scale, of libjpeg-turbo's up to a half, at which the crop is
    not smaller than the result. Where there is none, as with a short side of 256 and a result of
    224, pixels are those of mmcv's ``imfrombytes``, ``imcrop`` and ``imresize``, bit for bit, and
    only the tiles around the crop are decoded if the JPEG has any. Where there is one, pixels
    differ: the decoder averages those that bilinear interpolation skips, and the crop lies on its
    pixels.

    Other files than upright JPEGs of grey or RGB pixels are decoded whole, by mmcv.

    Args:
        data: An image file's content.
        choose: Returns what to crop from an image, given its height and width.
        crop: Where the result goes, (height, width, 3) uint8, BGR.
        interpolation: mmcv's name for it.

    Raises:
        ValueError: If this is no image.
    """
    header = read_header(data)
    if header is None:
        image = mmcv.imfrombytes(data)
        if image is None:
            raise ValueError('it is no image that OpenCV can read')
        top, left, height, width = choose(*image.shape[:2])
    else:
        top, left, height, width = box = choose(header.height, header.width)
        scale = max(crop.shape[0] / height, crop.shape[1] / width)
        if scale > 1 / 2:
            part, first_row, first_column = cut(data, header, box)
            image = _decode(part)
            top, left = top - first_row, left - first_column
        else:
            image = _decode(
                data,
                min_height=math.ceil(header.height * scale),
                min_width=math.ceil(header.width * scale),
                min_factor=2,  # scales between a half and one cost more than they save
            )
            # libjpeg rounds shapes up
            eighths = round(8 * max(image.shape[:2]) / max(header.height, header.width))
            top, left, bottom, right = (
                round(edge * eighths / 8) for edge in (top, left, top + height, left + width)
            )
            height, width = max(bottom - top, 1), max(right - left, 1)
    mmcv.imresize(
        image[top : top + height, left : left + width],
        crop.shape[1::-1],
        interpolation=interpolation,
        out=crop,
        backend='cv2',
    )


def _decode(data: bytes | bytearray, **scale: int) -> np.ndarray:
    # not strict, as OpenCV, which reads what can be read
    return simplejpeg.decode_jpeg(data, 'BGR', strict=False, **scale)
