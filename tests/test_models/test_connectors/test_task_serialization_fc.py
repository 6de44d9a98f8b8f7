"""Task serialization: who reads which logits, and that it folds away."""

import pytest
import torch
from torch import nn

from aekt_mm.models.connectors import TaskSerializationFC


@pytest.mark.parametrize('order', ['distill_then_classify', 'classify_then_distill'])
def test_identity_start_changes_nothing(order):
    logits = torch.randn(4, 6)
    classification, distillation = TaskSerializationFC(6, order=order)(logits)
    torch.testing.assert_close(classification, logits)
    torch.testing.assert_close(distillation, logits)


def test_orders():
    logits = torch.randn(4, 6)
    connector = TaskSerializationFC(6, order='distill_then_classify', init='default')
    classification, distillation = connector(logits)
    assert distillation is logits
    torch.testing.assert_close(classification, logits @ connector.fc.weight.T + connector.fc.bias)
    connector.order = 'classify_then_distill'
    behind, plain = connector(logits)[::-1]
    assert plain is logits
    torch.testing.assert_close(behind, classification)


@pytest.mark.parametrize('order', ['distill_then_classify', 'classify_then_distill'])
@pytest.mark.parametrize('bias', [True, False])
def test_fold(order, bias):
    """The folded classifier alone gives the logits of classification."""
    features = torch.randn(32, 9)
    classifier = nn.Linear(9, 6, bias=bias)
    connector = TaskSerializationFC(6, order=order, init='default')
    expected, _ = connector(classifier(features))
    connector.fold_into(classifier)
    torch.testing.assert_close(classifier(features), expected)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(order='classify_first'), "order must be one of .* but is 'classify_first'"),
        (dict(init='zeros'), "init must be one of .* but is 'zeros'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        TaskSerializationFC(6, **options)
