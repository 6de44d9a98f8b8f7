"""Decoding no more of an image than its crop needs."""

import io
import math
from collections.abc import Callable

import mmcv
import numpy as np
from PIL import ExifTags, Image

try:
    import simplejpeg
except ImportError:
    simplejpeg = None

#: Top, left, height and width in pixels.
Box = tuple[int, int, int, int]


def decode_crop(
    data: bytes, choose: Callable[[int, int], Box], crop: np.ndarray, interpolation: str
) -> None:
    """Decode a crop of an image and resize it.

    A JPEG is decoded at the smallest scale, of libjpeg-turbo's up to a half, at which the crop is
    not smaller than the result. Where there is none, as with a short side of 256 and a result of
    224, pixels are those of mmcv's ``imfrombytes``, ``imcrop`` and ``imresize``, bit for bit. Where
    there is one, they differ: the decoder averages pixels that bilinear interpolation skips, and
    the crop lies on its pixels.

    Other files than upright JPEGs of grey or RGB pixels are decoded whole, by mmcv.

    Args:
        data: An image file's content.
        choose: Returns what to crop from an image, given its height and width.
        crop: Where the result goes, (height, width, 3) uint8, BGR.
        interpolation: mmcv's name for it.

    Raises:
        ValueError: If this is no image.
    """
    size, image = jpeg_size(data), None
    if size is None:
        image = mmcv.imfrombytes(data)
        if image is None:
            raise ValueError('it is no image that OpenCV can read')
        size = image.shape[:2]
    top, left, height, width = choose(*size)
    if image is None:
        image = decode(data, size, max(crop.shape[0] / height, crop.shape[1] / width))
    eighths = round(8 * max(image.shape[:2]) / max(size))  # libjpeg rounds shapes up
    top, left, bottom, right = (
        round(edge * eighths / 8) for edge in (top, left, top + height, left + width)
    )
    mmcv.imresize(
        image[top : max(bottom, top + 1), left : max(right, left + 1)],
        crop.shape[1::-1],
        interpolation=interpolation,
        out=crop,
        backend='cv2',
    )


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return height and width of an upright JPEG of grey or RGB pixels, from its header.

    None for everything else, which wants more than decoding: other formats, CMYK, rotated images.
    """
    if not simplejpeg.is_jpeg(data):
        return None
    height, width, colors, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    if colors not in ('YCbCr', 'RGB', 'Gray'):
        return None
    if _may_have_exif(data):
        with Image.open(io.BytesIO(data)) as image:
            if image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9):
                return None
    return height, width


def _may_have_exif(data: bytes) -> bool:
    """Walk over a JPEG's segments to its pixels: a search in all its bytes takes six times as long.

    True also where segments do not follow on each other as they should.
    """
    place, start_of_scan = 2, b'\xff\xda'
    while (marker := data[place : place + 2]) != start_of_scan:
        if marker[:1] != b'\xff' or data[place + 4 : place + 10] == b'Exif\0\0':
            return True
        place += 2 + int.from_bytes(data[place + 2 : place + 4], 'big')
    return False


def decode(data: bytes, size: tuple[int, int], scale: float) -> np.ndarray:
    """Decode a JPEG to BGR, at the smallest scale up to a half that is not below ``scale``.

    Scales between a half and one cost libjpeg-turbo more than they save.
    """
    return simplejpeg.decode_jpeg(
        data,
        'BGR',
        min_height=min(math.ceil(size[0] * scale), size[0]),
        min_width=min(math.ceil(size[1] * scale), size[1]),
        min_factor=2,
        strict=False,  # as OpenCV, which reads what can be read
    )
