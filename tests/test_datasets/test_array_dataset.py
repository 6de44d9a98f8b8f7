"""Datasets in memory, read a batch at a time."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader

from aekt_mm.datasets import ArrayDataset, Digits, ViewSampler, whole_batch
from aekt_mm.models import BatchPreprocessor


def batches(workers=0, epoch=3, rank=0, ranks=1, size=32):
    """Everything that an epoch's loader and preprocessor give."""
    dataset = Digits('train')
    sampler = ViewSampler(dataset, seed=1)
    sampler.rank, sampler.world_size = rank, ranks
    sampler.num_samples = -(-len(dataset) // ranks)
    sampler.total_size = sampler.num_samples * ranks
    sampler.set_epoch(epoch)
    loader = DataLoader(dataset, size, sampler=sampler, num_workers=workers, collate_fn=whole_batch)
    prepare = BatchPreprocessor(mean=[78.0] * 3, std=[96.0] * 3, crop_padding=1, flip=True)
    return [prepare(batch, training=True) for batch in loader]


def by_sample(found):
    return {
        index: (image, label)
        for batch in found
        for index, image, label in zip(
            batch['data_samples'].sample_idx, batch['inputs'], batch['data_samples'].gt_label
        )
    }


@pytest.mark.parametrize('workers', [2, 4])
def test_any_number_of_workers_gives_the_same_batches(workers):
    for ours, theirs in zip(batches(workers), batches(), strict=True):
        assert torch.equal(ours['inputs'], theirs['inputs'])
        assert torch.equal(ours['data_samples'].gt_label, theirs['data_samples'].gt_label)


def test_two_ranks_give_the_batches_of_one():
    whole, halves = batches(size=32), [batches(rank=r, ranks=2, size=16) for r in (0, 1)]
    for batch, *parts in zip(whole, *halves):
        together = by_sample(parts)
        assert together.keys() == set(batch['data_samples'].sample_idx)
        for index, (image, _) in by_sample([batch]).items():
            assert torch.equal(image, together[index][0])


def test_every_epoch_is_another_view_of_every_sample():
    first, second = by_sample(batches(epoch=0)), by_sample(batches(epoch=1))
    assert first.keys() == second.keys() == set(range(898))
    changed = sum(not torch.equal(first[k][0], second[k][0]) for k in first)
    assert changed > 700
    assert all(first[k][1] == second[k][1] for k in first)


def test_plain_indices_are_not_augmented():
    dataset = Digits('test')
    batch = dataset.__getitems__([4, 2])
    assert torch.equal(batch['inputs'], dataset.images[[4, 2]])
    assert 'view_key' not in batch['data_samples']
    assert torch.equal(dataset[4]['inputs'], dataset.images[4:5])


def test_digits_are_scikit_learns():
    images, labels = load_digits(return_X_y=True)
    train, test = Digits('train'), Digits('test')
    assert (len(train), len(test)) == (898, 899)
    assert torch.cat([train.labels, test.labels]).tolist() == labels.tolist()
    pixels = torch.cat([train.images, test.images]).numpy()
    np.testing.assert_array_equal(pixels[..., 0], np.rint(images * 255 / 16).reshape(-1, 8, 8))
    np.testing.assert_array_equal(pixels[..., 0], pixels[..., 2])
    with pytest.raises(ValueError, match="split must be 'train' or 'test', but is 'val'"):
        Digits('val')


GOOD = dict(
    images=np.zeros((4, 8, 8, 3), np.uint8), labels=np.array([0, 1, 1, 0]), classes=('a', 'b')
)


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(images=np.zeros((4, 8, 8, 3))), r'must be \(N, H, W, 3\) uint8, but are float64'),
        (dict(images=np.zeros((4, 3, 8, 8), np.uint8)), r'uint8 \(4, 3, 8, 8\)'),
        (dict(labels=np.array([0, 1, 1])), 'must be 4 integers'),
        (dict(labels=np.array([0.0, 1, 1, 0])), 'must be 4 integers, but are float64'),
        (dict(labels=np.array([0, 1, 2, 0])), 'label 2 of ArrayDataset is out of range'),
        (dict(labels=np.array([0, 1, -1, 0])), 'label -1 of ArrayDataset is out of range'),
    ],
)
def test_bad_input(wrong, message):
    with pytest.raises(ValueError, match=message):
        ArrayDataset(**{**GOOD, **wrong})
