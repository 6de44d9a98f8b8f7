"""Decoding at a crop's scale gives the crop that loading, cropping and resizing give."""

import io
from pathlib import Path

import cv2
import mmcv
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aekt_mm.datasets.decoding import decode_crop
from aekt_mm.datasets.jpeg_tiles import with_table_of_tiles

pytestmark = pytest.mark.stack

pytest.importorskip('simplejpeg')

EXIF = Image.Exif()
EXIF[0x0112] = 6

#: Top, left, height and width as shares of an image.
BOXES = [(0, 0, 1, 1), (0.1, 0.2, 0.7, 0.8), (0.5, 0.4, 0.5, 0.25), (0.33, 0, 0.13, 0.6)]


def smooth(height, width):
    coarse = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def save(path, image, **options):
    Image.fromarray(image).save(path, **{'quality': 90, **options})
    return str(path)


def both(path, box, side=32, interpolation='bilinear'):
    """Return a crop of ours and of mmcv's steps, of a box given as shares of the image."""

    def choose(height, width):
        seen.append((height, width))
        top, left = int(box[0] * height), int(box[1] * width)
        return top, left, max(1, int(box[2] * height)), max(1, int(box[3] * width))

    seen = []
    ours = np.empty((side, side + 1, 3), np.uint8)
    decode_crop(Path(path).read_bytes(), choose, ours, interpolation)
    image = mmcv.imread(path)
    assert seen == [image.shape[:2]]
    top, left, height, width = choose(*image.shape[:2])
    crop = mmcv.imcrop(image, np.array([left, top, left + width - 1, top + height - 1]))
    return ours, mmcv.imresize(crop, (side + 1, side), interpolation=interpolation)


@pytest.mark.parametrize('subsampling', ['4:4:4', '4:2:0'])
@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic', 'area'])
@pytest.mark.parametrize('restarts', [0, 1])
def test_bit_for_bit_where_the_scale_is_full(tmp_path, interpolation, subsampling, restarts):
    path = save(
        tmp_path / 'image.jpg',
        smooth(63, 50),
        subsampling=subsampling,
        restart_marker_blocks=restarts,
    )
    Path(path).write_bytes(with_table_of_tiles(Path(path).read_bytes()))
    for box in BOXES:
        ours, theirs = both(path, box, interpolation=interpolation)
        assert np.array_equal(ours, theirs)


def test_close_where_it_is_not(tmp_path):
    path = save(tmp_path / 'image.jpg', smooth(960, 1281))
    decoded = []
    for box in BOXES:
        ours, theirs = both(path, box, side=224)
        difference = np.abs(ours.astype(float) - theirs)
        assert difference.mean() < 1
        decoded.append(difference.any())
    assert any(decoded)


@pytest.mark.parametrize(
    'name, options',
    [
        ('grey.jpg', dict(grey=True)),
        ('rotated.jpg', dict(exif=EXIF)),
        ('upright.jpg', dict(exif=Image.Exif())),
        ('image.png', {}),
        ('cmyk.jpg', dict(cmyk=True)),
    ],
)
def test_odd_images_as_mmcv_reads_them(tmp_path, name, options):
    image = Image.fromarray(smooth(60, 90))
    if options.pop('grey', False):
        image = image.convert('L')
    if options.pop('cmyk', False):
        image = image.convert('CMYK')
    image.save(tmp_path / name, **options)
    for box in BOXES:
        ours, theirs = both(str(tmp_path / name), box)
        assert np.array_equal(ours, theirs)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 99), st.integers(1, 64))
def test_any_size(height, width, seed, side):
    buffer = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 77, np.uint8)).save(buffer, 'JPEG')
    top, left, bottom, right = np.random.default_rng(seed).integers(
        0, (height, width, height, width)
    )
    (top, bottom), (left, right) = sorted((top, bottom)), sorted((left, right))
    box = top, left, bottom + 1 - top, right + 1 - left
    crop = np.zeros((side, 20, 3), np.uint8)
    decode_crop(buffer.getvalue(), lambda *_: box, crop, 'bilinear')
    assert np.abs(crop.astype(int) - 77).max() <= 1


def test_no_image():
    with pytest.raises(ValueError, match='it is no image that OpenCV can read'):
        decode_crop(b'nothing', None, np.empty((8, 8, 3), np.uint8), 'bilinear')
