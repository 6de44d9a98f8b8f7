"""Crop, flip and normalise a batch as one would an image at a time."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.structures import DataSample

from aekt_mm.datasets import ArrayDataset, Digits
from aekt_mm.models import BatchPreprocessor, crop_and_flip
from aekt_mm.structures import ViewKey, draw, view_keys

pytestmark = pytest.mark.stack

DIGITS = Digits('train')
MEAN, STD = [78.0, 79.0, 80.0], [96.0, 97.0, 98.0]


def prepare(**options):
    return BatchPreprocessor(mean=MEAN, std=STD, **options)


def batch(samples=range(40), view=3):
    return DIGITS.__getitems__([ViewKey(0, view, sample) for sample in samples])


@pytest.mark.parametrize('padding', [0, 1, 4])
@pytest.mark.parametrize('flip', [True, False])
@pytest.mark.parametrize('shape', [(8, 8), (6, 10)])
def test_equals_an_image_at_a_time(padding, flip, shape):
    images = torch.randint(0, 256, (50, *shape, 3), dtype=torch.uint8)
    keys = view_keys(0, 1, torch.arange(50))
    ours = crop_and_flip(images, keys, padding, flip)
    draws = draw(keys, 3)
    for n, image in enumerate(images.numpy()):
        top, left = (int(draws[k, n] * (2 * padding + 1)) for k in (0, 1))
        padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
        crop = padded[top : top + shape[0], left : left + shape[1]]
        if flip and draws[2, n] < 0.5:
            crop = crop[:, ::-1]
        np.testing.assert_array_equal(ours[n], crop)


def test_every_place_and_side_comes_up_equally_often():
    image = torch.arange(64, dtype=torch.uint8).reshape(1, 8, 8, 1)
    crops = crop_and_flip(
        image.repeat(18_000, 1, 1, 3), view_keys(0, 0, torch.arange(18_000)), 1, True
    )
    seen = Counter(crop.numpy().tobytes() for crop in crops)
    assert len(seen) == 3 * 3 * 2
    # chi-square with 17 degrees of freedom: above 53 once in 100,000
    assert sum((count - 1000) ** 2 / 1000 for count in seen.values()) < 53


@settings(deadline=None)
@given(st.lists(st.integers(0, 897), min_size=1, max_size=10), st.integers(0, 10**6))
def test_an_image_does_not_depend_on_the_rest_of_the_batch(samples, view):
    preprocessor = prepare(crop_padding=2, flip=True)
    together = preprocessor(batch(samples, view), training=True)['inputs']
    for image, sample in zip(together, samples):
        alone = preprocessor(batch([sample], view), training=True)['inputs'][0]
        assert torch.equal(image, alone)


@pytest.mark.parametrize('augments', [None, 'Mixup', 'CutMix'])
def test_is_channels_last(augments):
    options = dict(crop_padding=2, flip=True)
    if augments:
        augments = dict(augments=[dict(type=augments, alpha=1.0)])
        options.update(batch_augments=augments, num_classes=10)
    inputs = prepare(**options)(batch(), training=True)['inputs']
    assert inputs.shape == (40, 3, 8, 8)
    assert inputs.dtype == torch.float32
    assert inputs.is_contiguous(memory_format=torch.channels_last)


def test_normalises_as_mmpretrain_does():
    data = batch()
    inputs = prepare()(data, training=True)['inputs']
    expected = (data['inputs'].numpy().astype(np.float64) - MEAN) / STD
    np.testing.assert_allclose(inputs.permute(0, 2, 3, 1), expected, rtol=1e-6, atol=1e-6)
    plain = ClsDataPreprocessor(mean=MEAN, std=STD)
    assert torch.equal(inputs, plain(dict(inputs=data['inputs'].permute(0, 3, 1, 2)))['inputs'])
    for name in ('mean', 'std'):  # a teacher's adapter reads them
        assert torch.equal(getattr(prepare(), name), getattr(plain, name))
    assert prepare().to_rgb is plain.to_rgb is False


def test_evaluation_is_not_augmented():
    augmenting = prepare(crop_padding=2, flip=True)
    plain = augmenting(batch(), training=False)['inputs']
    assert torch.equal(plain, prepare()(batch(), training=True)['inputs'])
    assert not torch.equal(plain, augmenting(batch(), training=True)['inputs'])


def mixing(*kinds):
    augments = [dict(type=kind, alpha=0.8) for kind in kinds]
    return prepare(num_classes=10, batch_augments=dict(augments=augments))


@pytest.mark.parametrize('kinds', [('Mixup',), ('CutMix',), ('Mixup', 'CutMix')])
def test_mixing_follows_from_the_views(kinds):
    mix = mixing(*kinds)
    views = [mix(batch(view=view), training=True) for view in range(4)]
    torch.rand(5), np.random.rand(5)
    state = np.random.get_state()[1].tolist()
    for view, expected in enumerate(views):
        again = mix(batch(view=view), training=True)
        assert torch.equal(again['inputs'], expected['inputs'])
        assert torch.equal(again['data_samples'].gt_score, expected['data_samples'].gt_score)
    # a view may be mixed with nothing of another image, but not each
    assert len({view['data_samples'].gt_score.numpy().tobytes() for view in views}) > 1
    assert np.random.get_state()[1].tolist() == state
    assert 'gt_score' not in mix(batch(), training=False)['data_samples']


@pytest.mark.parametrize('kind', ['Mixup', 'CutMix'])
def test_the_share_of_a_class_is_that_of_its_image(kind):
    # images that say their labels, so that the mixed image says its classes' shares
    labels = np.arange(10)
    images = np.broadcast_to(labels[:, None, None, None], (10, 16, 16, 3)).astype(np.uint8)
    dataset = ArrayDataset(images, labels, [str(label) for label in labels])
    augments = dict(augments=[dict(type=kind, alpha=1.0)])
    mix = BatchPreprocessor(mean=[0.0] * 3, std=[1.0] * 3, num_classes=10, batch_augments=augments)
    most = 0
    for view in range(5):
        data = dataset.__getitems__([ViewKey(0, view, label) for label in labels])
        mixed = mix(data, training=True)
        shares = mixed['data_samples'].gt_score
        torch.testing.assert_close(shares.sum(1), torch.ones(10))
        torch.testing.assert_close(mixed['inputs'].mean((1, 2, 3)), shares @ torch.arange(10.0))
        assert mixed['data_samples'].gt_label.tolist() == labels.tolist()
        most = max(most, shares.count_nonzero(1).max())
    assert most == 2


def test_batches_without_views_can_not_be_augmented():
    plain = DIGITS.__getitems__([1, 2])
    for augmenting in (prepare(flip=True), prepare(crop_padding=1), mixing('Mixup')):
        with pytest.raises(TypeError, match=r"sampler=dict\(type='ViewSampler'\)"):
            augmenting(plain, training=True)
        augmenting(plain, training=False)
    prepare()(plain, training=True)


def test_other_batches_are_refused():
    data = dict(inputs=torch.zeros(1, 8, 8, 3), data_samples=[DataSample()])
    with pytest.raises(TypeError, match='takes the whole batches of an ArrayDataset'):
        prepare()(data)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(crop_padding=-1), 'crop_padding must be a whole number of pixels, but is -1'),
        (dict(crop_padding=1.5), 'crop_padding must be a whole number of pixels, but is 1.5'),
        (dict(mean=[1.0]), r'mean must be three numbers, but is \[1.0\]'),
        (dict(std=[1.0, 2.0]), r'std must be three numbers above 0, but is \[1.0, 2.0\]'),
        (dict(std=[1.0, 0.0, 1.0]), 'std must be three numbers above 0, but is'),
        (
            dict(batch_augments=dict(augments=[dict(type='Mixup', alpha=1.0)])),
            'batch_augments needs num_classes',
        ),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        BatchPreprocessor(**{**dict(mean=MEAN, std=STD), **options})
