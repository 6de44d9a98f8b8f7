"""Batches of images augmented one by one are mixed by their views."""

import numpy as np
import pytest
import torch
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.structures import DataSample

from aekt_mm.registry import MODELS, build
from aekt_mm.structures import BatchSample, batch_target, view_keys

pytestmark = pytest.mark.stack

MIX = dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)])
OPTIONS = dict(mean=[120.0] * 3, std=[60.0] * 3, to_rgb=True)
IMAGES = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8)


def prepare(**options):
    return build(MODELS, dict(type='ViewPreprocessor', **OPTIONS, **options))


def batch(view=0, viewed=True):
    samples = [DataSample().set_gt_label(label) for label in range(6)]
    if viewed:
        for sample, key in zip(samples, view_keys(0, view, torch.arange(6)).tolist()):
            sample.set_metainfo(dict(view_key=key))
    return dict(inputs=IMAGES, data_samples=samples)


def mixed(preprocessor, view):
    data = preprocessor(batch(view), training=True)
    return data['inputs'], torch.stack([sample.gt_score for sample in data['data_samples']])


def test_mixing_follows_from_the_views():
    preprocessor = prepare(batch_augments=MIX, num_classes=6)
    views = [mixed(preprocessor, view) for view in range(8)]
    torch.rand(5), np.random.rand(5)
    for view, (inputs, shares) in enumerate(views):
        again = mixed(preprocessor, view)
        assert torch.equal(again[0], inputs)
        assert torch.equal(again[1], shares)
        torch.testing.assert_close(shares.sum(1), torch.ones(6))
    assert len({shares.numpy().tobytes() for _, shares in views}) > 1


def test_otherwise_it_is_mmpretrains():
    plain = ClsDataPreprocessor(**OPTIONS)
    expected = plain(batch(viewed=False), training=True)['inputs']
    mixing = prepare(batch_augments=MIX, num_classes=6)
    assert torch.equal(mixing(batch(viewed=False), training=False)['inputs'], expected)
    inputs = prepare()(batch(viewed=False), training=True)['inputs']
    assert torch.equal(inputs, expected)
    assert inputs.is_contiguous(memory_format=torch.channels_last)


def test_batches_without_views_can_not_be_mixed():
    mixing = prepare(batch_augments=MIX, num_classes=6)
    with pytest.raises(TypeError, match=r"sampler=dict\(type='ViewSampler'\)"):
        mixing(batch(viewed=False), training=True)


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('mixes', [True, False])
def test_a_whole_batch_as_its_samples(training, mixes):
    mixing = dict(batch_augments=MIX, num_classes=6) if mixes else {}
    preprocessor = prepare(view_augments=dict(flip=True, erasing={}), **mixing)
    separate = preprocessor(batch(), training=training)
    keys = view_keys(0, 0, torch.arange(6))
    samples = BatchSample(
        metainfo=dict(sample_idx=np.arange(6), view=0), gt_label=torch.arange(6), view_key=keys
    )
    images = IMAGES.permute(0, 2, 3, 1).contiguous()
    whole = preprocessor(dict(inputs=images, data_samples=samples), training=training)
    assert torch.equal(whole['inputs'], separate['inputs'])
    samples = whole['data_samples']
    assert isinstance(samples, BatchSample) and torch.equal(samples.gt_label, torch.arange(6))
    assert torch.equal(samples.view_key, keys) and samples.view == 0
    assert torch.equal(batch_target(samples), batch_target(separate['data_samples']))
