"""A batch is read whole, with and without views."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch.utils.data import DataLoader
from torch.utils.data._utils.pin_memory import pin_memory

from aekt_mm.datasets import ArrayDataset, ViewSampler, whole_batch
from aekt_mm.models import BatchPreprocessor
from aekt_mm.structures import BatchSample, ViewKey, view_keys

pytestmark = pytest.mark.stack

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 256, (20, 5, 4, 3), np.uint8)
LABELS = GENERATOR.integers(0, 3, 20)
CLASSES = ('cat', 'dog', 'owl')


@pytest.fixture(scope='module')
def dataset():
    return ArrayDataset(IMAGES, LABELS, CLASSES)


@settings(deadline=None)
@given(st.lists(st.integers(0, 19), min_size=1), st.booleans())
def test_a_batch_is_the_samples_asked_for(indices, viewed):
    keys = [ViewKey(seed=4, view=2, sample=i) for i in indices] if viewed else indices
    batch = ArrayDataset(IMAGES, LABELS, CLASSES).__getitems__(keys)
    samples = batch['data_samples']
    assert isinstance(samples, BatchSample)
    assert batch['inputs'].dtype == torch.uint8
    assert np.array_equal(batch['inputs'], IMAGES[indices])
    assert samples.gt_label.tolist() == LABELS[indices].tolist()
    assert samples.sample_idx.tolist() == indices
    assert ('view' in samples) == ('view_key' in samples) == viewed
    if viewed:
        assert samples.view == 2
        assert torch.equal(samples.view_key, view_keys(4, 2, torch.tensor(indices)))


def test_one_sample_is_a_batch_of_one(dataset):
    batch = dataset[7]
    assert np.array_equal(batch['inputs'], IMAGES[7:8])
    assert batch['data_samples'].gt_label.tolist() == [LABELS[7]]


def test_has_length_and_classes(dataset):
    assert len(dataset) == 20
    assert dataset.metainfo == dict(classes=CLASSES)


@pytest.mark.parametrize('other', [ViewKey(0, 1, 3), ViewKey(1, 0, 3)])
def test_a_batch_in_two_views_is_refused(dataset, other):
    with pytest.raises(ValueError, match='one seed and be in one view'):
        dataset.__getitems__([ViewKey(0, 0, 3), other])


@pytest.mark.parametrize('workers', [0, 2])
def test_batches_come_through_a_dataloader(dataset, workers):
    loader = DataLoader(dataset, 8, collate_fn=whole_batch, num_workers=workers)
    batches = list(loader)
    assert [len(batch['data_samples']) for batch in batches] == [8, 8, 4]
    assert np.array_equal(torch.cat([batch['inputs'] for batch in batches]), IMAGES)


def test_batches_can_be_pinned(dataset, monkeypatch):
    pinned = []
    monkeypatch.setattr(
        torch.Tensor, 'pin_memory', lambda self, device=None: pinned.append(self) or self
    )
    batch = pin_memory(dataset[3])
    assert len(pinned) == 2 and pinned[0] is batch['inputs']
    assert pinned[1] is batch['data_samples'].gt_label
    assert batch['data_samples'].gt_label.tolist() == [LABELS[3]]


@pytest.mark.parametrize('sampler', ['ViewSampler', 'DefaultSampler'])
@pytest.mark.parametrize('scope', ['aekt_mm', 'mmpretrain'])
def test_a_runner_builds_its_dataloader_from_a_config(sampler, scope):
    """Also a shortened one, for which MMEngine wraps the dataset."""
    prefix = '' if scope == 'aekt_mm' else 'aekt_mm.'
    cfg = dict(
        batch_size=4,
        num_workers=0,
        collate_fn=dict(type='whole_batch'),
        sampler=dict(type=sampler if sampler == 'DefaultSampler' else prefix + sampler),
        dataset=dict(type=f'{prefix}ArrayDataset', images=IMAGES, labels=LABELS, classes=CLASSES),
        num_batch_per_epoch=3,
    )
    with DefaultScope.overwrite_default_scope(scope):
        loader = Runner.build_dataloader(cfg, seed=5)
    batches = list(loader)
    assert [len(batch['data_samples']) for batch in batches] == [4, 4, 4]
    seen = np.concatenate([batch['data_samples'].sample_idx for batch in batches])
    assert sorted(seen) == list(range(12))
    assert ('view_key' in batches[0]['data_samples']) == (sampler == 'ViewSampler')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            dict(images=IMAGES / 255),
            r'must be \(N, H, W, 3\) uint8, but are float64 \(20, 5, 4, 3\)',
        ),
        (dict(images=IMAGES[..., 0]), r'must be \(N, H, W, 3\) uint8, but are uint8 \(20, 5, 4\)'),
        (dict(images=IMAGES.transpose(0, 3, 1, 2)), r'uint8, but are uint8 \(20, 3, 5, 4\)'),
        (dict(labels=LABELS[1:]), r'must be 20 integers, but are int64 \(19,\)'),
        (dict(labels=LABELS / 2), r'must be 20 integers, but are float64 \(20,\)'),
        (dict(labels=LABELS + 1), 'label 3 of ArrayDataset is out of range: there are 3 classes'),
        (dict(labels=LABELS - 1), 'label -1 of ArrayDataset is out of range'),
    ],
)
def test_other_arrays_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ArrayDataset(**{**dict(images=IMAGES, labels=LABELS, classes=CLASSES), **change})


def augmented(workers=0, epoch=3, rank=0, ranks=1, size=8):
    """An epoch's batches as a model gets them, and the samples' indices."""
    dataset = ArrayDataset(IMAGES, LABELS, CLASSES)
    sampler = ViewSampler(dataset, seed=1)
    sampler.rank, sampler.world_size = rank, ranks
    sampler.num_samples = len(dataset) // ranks
    sampler.set_epoch(epoch)
    loader = DataLoader(dataset, size, sampler=sampler, num_workers=workers, collate_fn=whole_batch)
    prepare = BatchPreprocessor(mean=[78.0] * 3, std=[96.0] * 3, crop_padding=2, flip=True)
    batches = [prepare(batch, training=True) for batch in loader]
    return [(batch['inputs'], batch['data_samples'].sample_idx) for batch in batches]


@pytest.mark.parametrize('workers', [2, 4])
def test_any_number_of_workers_gives_the_same_batches(workers):
    for ours, expected in zip(augmented(workers), augmented(), strict=True):
        assert torch.equal(ours[0], expected[0])
        assert np.array_equal(ours[1], expected[1])


def test_two_ranks_give_the_batches_of_one():
    parts = [augmented(rank=rank, ranks=2, size=4) for rank in range(2)]
    for (inputs, indices), *halves in zip(augmented(size=8), *parts, strict=True):
        for rank, half in enumerate(halves):
            assert torch.equal(half[0], inputs[rank::2])
            assert np.array_equal(half[1], indices[rank::2])


def test_every_epoch_is_another_view_of_every_sample():
    epochs = []
    for epoch in range(2):
        inputs, indices = zip(*augmented(epoch=epoch))
        epochs.append(torch.cat(inputs)[np.argsort(np.concatenate(indices))])
    same = (epochs[0] == epochs[1]).flatten(1).all(1)
    assert same.sum() <= 2  # of 20: one in 50 draws the same crop and side again
