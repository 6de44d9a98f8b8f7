"""Decoding at a crop's scale gives the crop that loading and cropping give."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aekt_mm.datasets.decoding import jpeg_size
from aekt_mm.registry import TRANSFORMS, build

pytest.importorskip('simplejpeg')

EXIF = Image.Exif()
EXIF[0x0112] = 6


def smooth(height, width):
    coarse = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def save(path, image, **options):
    Image.fromarray(image).save(path, **{'quality': 90, **options})
    return str(path)


def both(path, seed, scale=32, **options):
    """Return the crop of our step and of mmpretrain's two, drawn alike."""
    crop = dict(scale=scale, **options)
    ours = build(TRANSFORMS, dict(type='LoadRandomResizedCrop', **crop))
    load = build(TRANSFORMS, dict(type='LoadImageFromFile'))
    theirs = build(TRANSFORMS, dict(type='RandomResizedCrop', **crop))
    np.random.seed(seed)
    first, after = ours(dict(img_path=path)), np.random.rand()
    np.random.seed(seed)
    second = theirs(load(dict(img_path=path)))
    assert after == np.random.rand()  # as many draws
    assert first['ori_shape'] == second['ori_shape']
    return first['img'], second['img']


@pytest.mark.parametrize('subsampling', ['4:4:4', '4:2:0'])
@pytest.mark.parametrize('options', [{}, dict(backend='pillow', interpolation='bicubic')])
def test_bit_for_bit_where_the_scale_is_full(tmp_path, options, subsampling):
    path = save(tmp_path / 'image.jpg', smooth(63, 50), subsampling=subsampling)
    for seed in range(10):
        ours, theirs = both(path, seed, **options)
        assert np.array_equal(ours, theirs)


def test_close_where_it_is_not(tmp_path):
    path = save(tmp_path / 'image.jpg', smooth(960, 1281))
    decoded = []
    for seed in range(10):
        ours, theirs = both(path, seed, scale=224)
        difference = np.abs(ours.astype(float) - theirs)
        assert ours.shape == theirs.shape and difference.mean() < 1
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
def test_odd_images_as_mmpretrain_reads_them(tmp_path, name, options):
    image = Image.fromarray(smooth(60, 90))
    if options.pop('grey', False):
        image = image.convert('L')
    if options.pop('cmyk', False):
        image = image.convert('CMYK')
    image.save(tmp_path / name, **options)
    for seed in range(5):
        ours, theirs = both(str(tmp_path / name), seed)
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize('before', [b'', b'\xff\xe2\x00\x06\xff\xda\x00\x01', b'\xff\xff'])
def test_exif_notes_are_found_wherever_they_stand(tmp_path, before):
    """After a segment that looks like the start of pixels, and after a fill byte."""
    data = Path(save(tmp_path / 'rotated.jpg', smooth(60, 90), exif=EXIF)).read_bytes()
    start = data.index(b'\xff\xe1')
    assert jpeg_size(data[:start] + before + data[start:]) is None


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 99), st.integers(1, 64))
def test_any_size(height, width, seed, scale):
    buffer = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 77, np.uint8)).save(buffer, 'JPEG')
    step = build(TRANSFORMS, dict(type='LoadRandomResizedCrop', scale=(scale, 20)))
    np.random.seed(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.fileio.get', lambda *_, **__: buffer.getvalue())
        image = step(dict(img_path='x'))['img']
    assert image.shape == (scale, 20, 3) and abs(int(image.mean()) - 77) <= 1


def test_no_image_is_named(tmp_path):
    (tmp_path / 'x.jpg').write_bytes(b'nothing')
    step = build(TRANSFORMS, dict(type='LoadRandomResizedCrop', scale=8))
    with pytest.raises(ValueError, match=r'x.jpg is no image that OpenCV can read'):
        step(dict(img_path=str(tmp_path / 'x.jpg')))


def test_pixels_are_packed_as_they_lie(tmp_path):
    image = smooth(8, 9)
    ours, theirs = (
        build(TRANSFORMS, dict(type=name))(dict(img=image, gt_label=3))
        for name in ('PackPixels', 'PackInputs')
    )
    assert torch.equal(ours['inputs'].permute(2, 0, 1), theirs['inputs'])
    assert ours['inputs'].is_contiguous() and ours['data_samples'].gt_label == 3
