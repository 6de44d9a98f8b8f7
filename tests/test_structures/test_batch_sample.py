"""A batch of labels in one is a list of mmpretrain's data samples."""

import pytest
import torch
from mmpretrain.evaluation import Accuracy
from mmpretrain.structures import DataSample

from aekt_mm.registry import MODELS
from aekt_mm.structures import BatchSample, batch_target, batch_views

HEAD = dict(type='LinearClsHead', num_classes=5, in_channels=8)


@pytest.fixture
def batch():
    labels = torch.tensor([3, 0, 4, 3])
    return BatchSample(
        metainfo=dict(sample_idx=torch.tensor([9, 2, 5, 7]).numpy(), view=6), gt_label=labels
    )


def listed(batch):
    samples = [
        DataSample(metainfo=dict(sample_idx=int(index), view=batch.view)).set_gt_label(label)
        for index, label in zip(batch.sample_idx, batch.gt_label)
    ]
    if 'gt_score' in batch:
        for sample, score in zip(samples, batch.gt_score):
            sample.set_gt_score(score)
    return samples


@pytest.mark.parametrize('soft', [False, True])
def test_heads_and_metrics_take_it(batch, soft):
    if soft:
        batch.gt_score = torch.rand(4, 5).softmax(1)
    head = MODELS.build(HEAD)
    features = (torch.randn(4, 8),)
    ours, theirs = head.loss(features, batch), head.loss(features, listed(batch))
    torch.testing.assert_close(ours['loss'], theirs['loss'])
    torch.testing.assert_close(batch_target(batch), batch_target(listed(batch)))
    metric = Accuracy()
    metric.process(None, [sample.to_dict() for sample in head.predict(features, batch)])
    right = head(features).argmax(1) == batch.gt_label
    assert metric.evaluate(4)['accuracy/top1'] == pytest.approx(right.float().mean().item() * 100)


def test_is_a_sequence(batch):
    assert len(batch) == 4
    assert [sample.gt_label.item() for sample in batch] == [3, 0, 4, 3]
    assert batch[-1].gt_label.tolist() == [3]
    with pytest.raises(IndexError, match='sample 4 of a batch of 4'):
        batch[4]


def test_views(batch):
    for samples in (batch, listed(batch)):
        view, index, labels = batch_views(samples)
        assert (view, index.tolist(), labels.tolist()) == (6, [9, 2, 5, 7], [3, 0, 4, 3])
