"""Crop, flip and normalise a batch as one would an image at a time."""

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample

from aekt_mm.datasets import Digits
from aekt_mm.models import BatchPreprocessor, crop_and_flip
from aekt_mm.structures import ViewKey, draw, view_keys

MEAN, STD = [78.0, 79.0, 80.0], [96.0, 97.0, 98.0]


def prepare(**options):
    return BatchPreprocessor(mean=MEAN, std=STD, **options)


def batch(samples=range(40), view=3):
    return Digits('train').__getitems__([ViewKey(0, view, sample) for sample in samples])


@pytest.mark.parametrize('padding', [0, 1, 4])
@pytest.mark.parametrize('flip', [True, False])
@pytest.mark.parametrize('shape', [(8, 8), (6, 10)])
def test_equals_an_image_at_a_time(padding, flip, shape):
    images = torch.randint(0, 256, (50, *shape, 3), dtype=torch.uint8)
    keys = view_keys(0, 1, torch.arange(50))
    ours = crop_and_flip(images, keys, padding, flip)
    for n, image in enumerate(images.numpy()):
        top, left = (int(draw(keys, k)[n] * (2 * padding + 1)) for k in (0, 1))
        padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
        crop = padded[top : top + shape[0], left : left + shape[1]]
        if flip and draw(keys, 2)[n] < 0.5:
            crop = crop[:, ::-1]
        np.testing.assert_array_equal(ours[n], crop)


def test_every_place_and_side_comes_up():
    images = torch.arange(64, dtype=torch.uint8).reshape(1, 8, 8, 1).repeat(2000, 1, 1, 3)
    crops = crop_and_flip(images, view_keys(0, 0, torch.arange(2000)), 1, True)
    assert len({crop.numpy().tobytes() for crop in crops}) == 3 * 3 * 2


def test_normalises_and_is_channels_last():
    data = batch()
    inputs = prepare()(data, training=True)['inputs']
    expected = (data['inputs'].numpy().astype(np.float64) - MEAN) / STD
    np.testing.assert_allclose(inputs.permute(0, 2, 3, 1), expected, rtol=1e-6, atol=1e-6)
    assert inputs.dtype == torch.float32
    assert inputs.is_contiguous(memory_format=torch.channels_last)


def test_evaluation_is_not_augmented():
    augmenting = prepare(crop_padding=2, flip=True)
    plain = augmenting(batch(), training=False)['inputs']
    assert torch.equal(plain, prepare()(batch(), training=True)['inputs'])
    assert not torch.equal(plain, augmenting(batch(), training=True)['inputs'])


@pytest.mark.parametrize('kind', ['Mixup', 'CutMix'])
def test_mixing_follows_from_the_views(kind):
    mixing = prepare(num_classes=10, batch_augments=dict(augments=[dict(type=kind, alpha=0.8)]))
    first = mixing(batch(), training=True)
    torch.rand(5), np.random.rand(5)
    again, other = mixing(batch(), training=True), mixing(batch(view=4), training=True)
    assert torch.equal(first['inputs'], again['inputs'])
    shares = first['data_samples'].gt_score
    assert torch.equal(shares, again['data_samples'].gt_score)
    assert not torch.equal(shares, other['data_samples'].gt_score)
    torch.testing.assert_close(shares.sum(1), torch.ones(40))
    assert shares.count_nonzero(1).max() == 2
    assert 'gt_score' not in mixing(batch(), training=False)['data_samples']


def test_batches_without_views_can_not_be_augmented():
    plain = Digits('train').__getitems__([1, 2])
    with pytest.raises(TypeError, match="sampler=dict\\(type='ViewSampler'\\)"):
        prepare(flip=True)(plain, training=True)


def test_other_batches_are_refused():
    data = dict(inputs=torch.zeros(1, 8, 8, 3), data_samples=[DataSample()])
    with pytest.raises(TypeError, match='takes the whole batches of an ArrayDataset'):
        prepare()(data)


@pytest.mark.parametrize('padding', [-1, 1.5])
def test_bad_padding(padding):
    with pytest.raises(ValueError, match=f'whole number of pixels, but is {padding}'):
        prepare(crop_padding=padding)
