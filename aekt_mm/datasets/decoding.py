"""Decoding no more of an image than its crop needs."""

import io

import mmcv
import numpy as np
import torch
from mmengine import fileio
from mmpretrain.datasets.transforms import PackInputs, RandomResizedCrop
from PIL import ExifTags, Image

from aekt_mm.registry import TRANSFORMS

try:
    import simplejpeg
except ImportError:
    simplejpeg = None


@TRANSFORMS.register_module()
class LoadRandomResizedCrop(RandomResizedCrop):
    """``LoadImageFromFile`` and mmpretrain's ``RandomResizedCrop`` in one step.

    The crop is drawn from the image's header, as ``RandomResizedCrop`` draws it, and the JPEG is
    decoded at the smallest scale, of libjpeg-turbo's up to a half, at which the crop is not
    smaller than the result. Where there is none, as with a short side of 256 and a result of 224,
    pixels are those of the two steps, bit for bit. Where there is one, they differ: the decoder
    averages pixels that bilinear interpolation skips, and the crop lies on its pixels.

    Other files than upright JPEGs of grey or RGB pixels are decoded whole, by mmcv.

    Required keys: ``img_path``. Added keys: ``img`` (H, W, 3) uint8 BGR, ``img_shape`` and
    ``ori_shape``.

    Args:
        scale: Height and width of the result in pixels; one number for both.
        backend_args: Of MMEngine's file backend.
        **kwargs: As :class:`mmpretrain.datasets.RandomResizedCrop`'s.

    Raises:
        ImportError: If simplejpeg is not installed.
    """

    def __init__(
        self, scale: int | tuple[int, int], backend_args: dict | None = None, **kwargs
    ) -> None:
        if simplejpeg is None:
            raise ImportError(
                'LoadRandomResizedCrop decodes with simplejpeg, which is not installed: '
                'pip install simplejpeg'
            )
        super().__init__(scale, **kwargs)
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Load the crop of an image.

        Raises:
            ValueError: If the file is no image.
        """
        path = results['img_path']
        data = fileio.get(path, backend_args=self.backend_args)
        size, image = jpeg_size(data), None
        if size is None:
            image = mmcv.imfrombytes(data)
            if image is None:
                raise ValueError(f'{path} is no image that OpenCV can read')
            size = image.shape[:2]
        top, left, height, width = self.rand_crop_params(np.empty((*size, 0)))
        if image is None:
            image = decode(data, size, max(self.scale[0] / height, self.scale[1] / width))
        eighths = round(8 * max(image.shape[:2]) / max(size))  # libjpeg rounds shapes up
        top, left, bottom, right = (
            round(edge * eighths / 8) for edge in (top, left, top + height, left + width)
        )
        crop = image[top : max(bottom, top + 1), left : max(right, left + 1)]
        crop = mmcv.imresize(
            crop, tuple(self.scale[::-1]), interpolation=self.interpolation, backend=self.backend
        )
        results.update(img=crop, img_shape=crop.shape[:2], ori_shape=size)
        return results


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
        min_height=min(int(np.ceil(size[0] * scale)), size[0]),
        min_width=min(int(np.ceil(size[1] * scale)), size[1]),
        min_factor=2,
        strict=False,  # as OpenCV, which reads what can be read
    )


@TRANSFORMS.register_module()
class PackPixels(PackInputs):
    """mmpretrain's ``PackInputs``, with ``inputs`` as they lie in memory: (H, W, 3).

    :class:`~aekt_mm.models.data_preprocessors.ViewPreprocessor` takes batches of them as they are,
    since its images are channels-last anyway; turning each around to (3, H, W) first takes a worker
    longer than resizing it.

    Args:
        **kwargs: As :class:`mmpretrain.datasets.PackInputs`'s.
    """

    @staticmethod
    def format_input(input_: np.ndarray) -> torch.Tensor:
        """Return an image (H, W, 3) as a tensor."""
        return torch.from_numpy(np.ascontiguousarray(input_))
