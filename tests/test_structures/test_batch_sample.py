"""A batch's labels in one object are, to heads and metrics, a list of samples."""

import copy
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmpretrain.evaluation import Accuracy
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample

from aekt_mm.structures import BatchSample, batch_key, batch_target, batch_views

LABELS = torch.tensor([3, 1, 4, 1, 5])
SHARES = torch.rand(5, 6, generator=torch.Generator().manual_seed(0)).softmax(1)
INDICES = np.array([10, 20, 30, 40, 50])


def batch(**fields):
    return BatchSample(metainfo=dict(sample_idx=INDICES, view=7), gt_label=LABELS, **fields)


def separate(**fields):
    samples = []
    for row, label in enumerate(LABELS):
        meta = dict(sample_idx=int(INDICES[row]), view=7)
        sample = DataSample(metainfo=meta).set_gt_label(label)
        for name, values in fields.items():
            sample.set_field(values[row], name)
        samples.append(sample)
    return samples


@pytest.mark.parametrize('fields', [{}, dict(gt_score=SHARES)])
def test_is_a_sequence_of_data_samples(fields):
    samples, expected = batch(**fields), separate(**fields)
    assert len(samples) == len(list(samples)) == 5
    for row, (iterated, sample) in enumerate(zip(samples, expected)):
        for ours in (iterated, samples[row], samples[row - 5]):
            assert type(ours) is DataSample
            assert ours.keys() == sample.keys()
            for name, value in sample.items():
                assert torch.equal(ours.get(name), value)


def test_what_is_noted_on_a_sample_is_kept():
    """Some classifiers note predictions so, and return the batch."""
    samples = batch()
    for sample in samples:
        sample.set_pred_label(2)
    assert [sample.pred_label.item() for sample in samples] == [2] * 5
    samples[1].set_pred_label(4)
    assert samples[-4].pred_label.item() == 4
    samples.gt_score = SHARES  # mixed afterwards
    assert samples[1].gt_score.equal(SHARES[1])


@pytest.mark.parametrize('index', [5, -6])
def test_there_is_no_sample_beyond(index):
    with pytest.raises(IndexError, match=f'sample {index} of a batch of 5'):
        batch()[index]


def test_an_empty_batch_has_no_samples():
    assert list(BatchSample(gt_label=LABELS[:0])) == []


def test_tensors_move_and_meta_fields_stay():
    moved = batch(gt_score=SHARES).to('meta')
    assert type(moved) is BatchSample
    assert moved.gt_label.is_meta and moved.gt_score.is_meta
    assert moved.view == 7 and np.array_equal(moved.sample_idx, INDICES)


@pytest.mark.parametrize('duplicate', [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_survives_copies(duplicate):
    copied = duplicate(batch(gt_score=SHARES))
    assert type(copied) is BatchSample
    assert torch.equal(copied.gt_label, LABELS) and torch.equal(copied.gt_score, SHARES)
    assert copied.view == 7


@pytest.mark.parametrize(
    ('loss', 'fields'),
    [
        (dict(type='CrossEntropyLoss'), {}),
        (dict(type='LabelSmoothLoss', label_smooth_val=0.1), {}),
        (dict(type='CrossEntropyLoss', use_soft=True), dict(gt_score=SHARES)),
    ],
)
def test_a_classifier_sees_no_difference(loss, fields):
    torch.manual_seed(1)
    model = ImageClassifier(
        backbone=dict(type='LeNet5'),  # without num_classes: features (N, 120, 1, 1)
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=6, in_channels=120, loss=loss),
    ).eval()
    inputs = torch.randn(5, 1, 32, 32)
    logits = model(inputs)
    losses = [model.loss(inputs, build(**fields))['loss'] for build in (batch, separate)]
    assert torch.equal(*losses)
    if loss['type'] == 'CrossEntropyLoss':
        assert torch.allclose(losses[0], F.cross_entropy(logits, fields.get('gt_score', LABELS)))

    accuracies = []
    for build in (batch, separate):
        predictions = model.predict(inputs, build(**fields))
        assert torch.equal(torch.stack([s.pred_score for s in predictions]), logits.softmax(1))
        assert [sample.pred_label.item() for sample in predictions] == logits.argmax(1).tolist()
        assert [sample.gt_label.item() for sample in predictions] == LABELS.tolist()
        metric = Accuracy()
        metric.process(None, [sample.to_dict() for sample in predictions])
        accuracies.append(metric.evaluate(5)['accuracy/top1'])
    right = (logits.argmax(1) == LABELS).float().mean().item()
    assert accuracies == pytest.approx([100 * right] * 2)


@pytest.mark.parametrize('samples', [batch(), separate()])
def test_says_where_its_logits_are_kept(samples):
    view, indices, labels = batch_views(samples)
    assert view == 7
    assert np.array_equal(indices, INDICES)
    assert torch.equal(labels, LABELS)


@pytest.mark.parametrize('build', [batch, separate])
def test_targets_are_labels_or_shares(build):
    assert torch.equal(batch_target(build()), LABELS)
    assert torch.equal(batch_target(build(gt_score=SHARES)), SHARES)


@pytest.mark.parametrize('build', [batch, separate])
def test_the_key_of_a_batch_is_that_of_its_first_sample(build):
    keys = [-9, 1, 2, 3, 4]
    viewed = build()
    if isinstance(viewed, BatchSample):
        viewed.view_key = torch.tensor(keys)
    else:
        for sample, key in zip(viewed, keys):
            sample.set_metainfo(dict(view_key=key))
    assert batch_key(viewed) == -9
    with pytest.raises(TypeError, match=r"set sampler=dict\(type='ViewSampler'\)"):
        batch_key(build())
