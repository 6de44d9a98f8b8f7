"""What is done to a batch on the device is what each image's view asks for."""

import colorsys
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmpretrain.structures import DataSample
from torchvision.transforms.v2 import functional as tv

from aekt_mm.models.data_preprocessors.view_augmentation import ViewAugmentation, jitter
from aekt_mm.registry import MODELS, build
from aekt_mm.structures import view_keys

pytestmark = pytest.mark.stack

ALL = dict(
    flip=True,
    color_jitter=dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    erasing=dict(prob=0.5),
)
IMAGES = torch.randint(0, 256, (24, 3, 20, 26), dtype=torch.uint8)
KEYS = view_keys(seed=1, view=2, sample=torch.arange(24))
NONE = dict(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(24)), st.integers(1, 24))
def test_an_images_draws_do_not_depend_on_its_batch(order, count):
    part = torch.tensor(order[:count])
    augment = ViewAugmentation(**ALL)
    whole = augment(IMAGES, KEYS)[part]
    torch.testing.assert_close(augment(IMAGES[part], KEYS[part]), whole, atol=1e-3, rtol=0)


def test_half_of_the_images_are_mirrored():
    keys = view_keys(0, 0, torch.arange(2000))
    images = torch.arange(6, dtype=torch.uint8).view(1, 1, 1, 6).expand(2000, 3, 1, 6)
    flipped = ViewAugmentation(flip=True)(images, keys)
    mirrored = flipped[:, 0, 0, 0] == 5
    assert torch.equal(flipped[mirrored], images[mirrored].flip(3))
    assert torch.equal(flipped[~mirrored], images[~mirrored])
    assert abs(mirrored.float().mean().item() - 0.5) < 0.05


ORDER = torch.tensor([0.1, 0.2, 0.3, 0.4])[:, None]  # brightness, contrast, saturation, hue


@pytest.mark.parametrize(
    'name, function, middle',
    [
        ('brightness', tv.adjust_brightness, 0),
        ('contrast', tv.adjust_contrast, 1),
        ('saturation', tv.adjust_saturation, 2),
    ],
)
def test_each_change_is_torchvisions(name, function, middle):
    images = 60 + 100 * torch.rand(1, 3, 9, 11)  # nothing to clamp
    for value in (0.0, 0.3, 0.8):
        draws = torch.full((4, 1), 0.5)
        draws[middle] = value
        ours = jitter(images, torch.cat([draws, ORDER]), {**NONE, name: 0.4})
        factor = 0.6 + 0.8 * value
        theirs = function(images.flip(1) / 255, factor).flip(1) * 255
        torch.testing.assert_close(ours, theirs, atol=0.05, rtol=0)  # torchvision rounds weights


def test_changes_follow_one_another_in_the_drawn_order():
    images = 90 + 60 * torch.rand(1, 3, 9, 11)
    values = dict(brightness=0.9, contrast=0.2, saturation=0.7)
    functions = [tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation]
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        places = torch.full((4, 1), 0.9)
        for place, change in enumerate(order):
            places[change] = 0.1 * place
        draws = torch.tensor([*values.values(), 0.5])[:, None]
        ours = jitter(images, torch.cat([draws, places]), {**dict.fromkeys(values, 0.3), 'hue': 0})
        theirs = images.flip(1) / 255
        for change in order:
            theirs = functions[change](theirs, 0.7 + 0.6 * list(values.values())[change])
        torch.testing.assert_close(ours, theirs.flip(1) * 255, atol=0.1, rtol=0)


def test_hue_turns_colours_and_leaves_greys_and_brightness():
    color = np.array([0.35, 0.5, 0.6])  # R, G, B
    images = torch.tensor(255 * color[::-1].copy()).float().view(1, 3, 1, 1)
    draws = torch.cat([torch.tensor([[0.5], [0.5], [0.5], [0.8]]), ORDER])
    turned = jitter(images, draws, {**NONE, 'hue': 0.1}).flatten().numpy()[::-1] / 255
    weights = np.array([0.299, 0.587, 0.114])
    assert weights @ turned == pytest.approx(weights @ color, abs=1e-3)
    before, after = (colorsys.rgb_to_yiq(*rgb) for rgb in (color, turned))
    angle = math.atan2(after[2], after[1]) - math.atan2(before[2], before[1])
    assert angle % (2 * math.pi) == pytest.approx(2 * math.pi * 0.1 * 0.6, abs=0.03)

    grey = torch.full((1, 3, 4, 4), 77.0)
    torch.testing.assert_close(jitter(grey, draws, {**NONE, 'hue': 0.5}), grey, atol=0.1, rtol=0)


def test_erased_rectangles():
    count = 400
    keys = view_keys(3, 1, torch.arange(count))
    images = torch.full((count, 3, 64, 64), 200, dtype=torch.uint8)
    options = dict(prob=0.6, area=(0.1, 0.3), aspect=(0.5, 2.0), fill_color=(1, 2, 3))
    erased = ViewAugmentation(erasing=options)(images, keys)
    assert erased.dtype == torch.uint8
    hit = (erased != 200).all(1)
    assert abs(hit.any(2).any(1).float().mean().item() - 0.6) < 0.08
    for image, inside in zip(erased, hit):
        if not inside.any():
            continue
        rows, columns = inside.any(1), inside.any(0)
        assert torch.equal(inside, rows[:, None] & columns)  # one rectangle
        tall, broad = rows.sum().item(), columns.sum().item()
        assert 0.08 < tall * broad / 64**2 < 0.33 and 0.45 < tall / broad < 2.2
        assert image[:, inside].unique(dim=1).flatten().tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    'options, message',
    [
        (
            dict(color_jitter=dict(hue=0.6)),
            'hue of color_jitter must be at least 0 and at most 0.5',
        ),
        (dict(color_jitter=dict(contrast=-1)), 'contrast of color_jitter must be at least 0, but'),
        (dict(color_jitter=dict(gamma=1)), "color_jitter has no option 'gamma': it has brightness"),
        (dict(erasing=dict(prob=2)), 'prob and area of erasing must be in'),
        (dict(erasing=dict(aspect=(2, 1))), 'aspect of erasing must be a range above 0'),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        ViewAugmentation(**options)


def preprocessor(**options):
    return build(
        MODELS,
        dict(type='ViewPreprocessor', mean=[120.0] * 3, std=[60.0] * 3, to_rgb=True, **options),
    )


def batch(inputs, viewed=True):
    samples = [DataSample().set_gt_label(0) for _ in inputs]
    if viewed:
        for sample, key in zip(samples, KEYS.tolist()):
            sample.set_metainfo(dict(view_key=key))
    return dict(inputs=inputs, data_samples=samples)


def test_the_preprocessor_augments_in_training_alone():
    augmenting = preprocessor(view_augments=ALL)
    expected = ViewAugmentation(**ALL)(IMAGES, KEYS)
    inputs = augmenting(batch(IMAGES), training=True)['inputs']
    torch.testing.assert_close(inputs, (expected.flip(1) - 120) / 60)
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    plain = preprocessor()(batch(IMAGES), training=True)['inputs']
    assert torch.equal(augmenting(batch(IMAGES), training=False)['inputs'], plain)
    with pytest.raises(TypeError, match=r"sampler=dict\(type='ViewSampler'\)"):
        augmenting(batch(IMAGES, viewed=False), training=True)


def test_batches_may_come_as_they_lie_in_memory():
    for training in (True, False):
        first, second = (
            preprocessor(view_augments=ALL)(batch(images), training=training)['inputs']
            for images in (IMAGES, IMAGES.permute(0, 2, 3, 1).contiguous())
        )
        torch.testing.assert_close(first, second)
