"""Relations that were planted into an FC layer are found."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config

from aekt_mm.analysis.class_relations import class_relations, cluster, fc_weight, symmetric
from aekt_mm.analysis.predictions import Predictions
from aekt_mm.analysis.runs import Run

PARTNER = [1, 0, 3, 2, 5, 4]
CLASSES = ['wolf', 'fox', 'rose', 'tulip', 'bus', 'car']
SUPERCLASSES = ('animal', 'animal', 'flower', 'flower', 'vehicle', 'vehicle')


@pytest.fixture
def planted(tmp_path):
    """A run whose FC layer relates pairs of classes, which the teacher confuses."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.eye(6) + 0.01 * torch.randn(6, 6, generator=generator)
    weight[range(6), PARTNER] += torch.tensor([0.5, 0.5, 0.3, 0.3, 0.2, 0.2])
    labels = torch.arange(60) % 6
    teacher = torch.randn(60, 6, generator=generator)
    teacher[range(60), labels] += 6
    teacher[range(60), torch.tensor(PARTNER)[labels]] += 4
    path = tmp_path / 'run.pth'
    torch.save({'state_dict': {'connector.fc.weight': weight}}, path)
    run = Run('run', Config(dict(model=dict())), path)
    dataset = SimpleNamespace(metainfo=dict(superclasses=SUPERCLASSES))
    return run, Predictions(labels, CLASSES, dict(run=teacher), dict(run=teacher), dataset), weight


def test_planted_relations(planted):
    run, predictions, weight = planted
    findings = class_relations([run], predictions)
    overall, strongest, pairs = (table.frame for table in findings.tables)
    assert [{a, b} for a, b in strongest['and'].head(3).items()] == [
        {'wolf', 'fox'},
        {'rose', 'tulip'},
        {'bus', 'car'},
    ]
    assert sorted(strongest['rank there'].head(3)) == [1, 2, 3]
    found = overall.loc['run']
    assert found['heavier inside, of all comparisons'] == 1.0
    # pair by pair: the teacher's probabilities and the weights, what a column shares taken off
    p = predictions.teachers['run'].double().softmax(1).numpy()
    mean = [p[predictions.labels.numpy() == k].mean(0) for k in range(6)]
    w = weight.double().numpy()
    couples = [(i, j) for i in range(6) for j in range(i + 1, 6)]
    confused = [(mean[i][j] + mean[j][i]) / 2 for i, j in couples]
    middle = [np.median([w[i, j] for i in range(6) if i != j]) for j in range(6)]
    weights = [(w[i, j] - middle[j] + w[j, i] - middle[i]) / 2 for i, j in couples]
    np.testing.assert_allclose(pairs['weight'], weights)
    expected = np.corrcoef(confused, weights)[0, 1]
    assert found["correlation with teacher's confusions"] == pytest.approx(expected)
    assert expected > 0.8
    assert len(findings.panels) == 3


def test_related_classes_stand_together(planted):
    order = cluster(symmetric(fc_weight(planted[0])))
    places = {k: place for place, k in enumerate(order)}
    assert all(abs(places[k] - places[PARTNER[k]]) == 1 for k in range(6))


def test_what_softmax_does_not_see_makes_no_difference(planted, tmp_path):
    run, _, weight = planted
    moved = tmp_path / 'moved.pth'
    torch.save({'state_dict': {'connector.fc.weight': weight + torch.arange(6)}}, moved)
    np.testing.assert_allclose(fc_weight(Run('', run.cfg, moved)), fc_weight(run), atol=1e-6)


def test_without_a_layer(planted, tmp_path):
    _, predictions, _ = planted
    torch.save({'state_dict': {}}, tmp_path / 'none.pth')
    findings = class_relations([Run('none', Config(), tmp_path / 'none.pth')], predictions)
    assert findings.tables == []
    assert 'No run has an FC layer' in findings.notes[0]
