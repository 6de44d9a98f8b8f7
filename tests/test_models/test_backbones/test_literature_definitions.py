"""Networks against the definitions that the distillation literature uses.

tests/data/backbones.json holds what those definitions gave, and says how.
"""

import hashlib
import json
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from mmpretrain.registry import MODELS

import aekt_mm.models.backbones  # noqa: F401

pytestmark = pytest.mark.stack

FIXTURE = Path(__file__).parents[2] / 'data' / 'backbones.json'
NETWORKS = json.loads(FIXTURE.read_text(encoding='utf-8'))['networks']


def fill(name, shape):
    """Values of a parameter or buffer, a function of its name in the literature and its shape."""
    draw = np.random.RandomState(zlib.crc32(name.encode())).uniform(-1, 1, shape)
    if name.endswith('num_batches_tracked'):
        return np.zeros(shape, dtype=int)
    if len(shape) > 1:  # convolutions and linear layers, such that signals keep their size
        return draw * math.sqrt(6 / math.prod(shape[1:]))
    if name.endswith(('.bias', '.running_mean')):
        return draw / 2
    return 1 + draw / 2  # weights and variances of batch norms


def images(size):
    return torch.from_numpy(np.random.RandomState(0).uniform(-1, 1, (2, 3, size, size)))


def shapes_digest(shapes):
    """One number for the names and shapes of a state dict."""
    lines = sorted(f'{name} {tuple(shape)}' for name, shape in shapes.items())
    return hashlib.sha256('\n'.join(lines).encode()).hexdigest()


def classifier(backbone, in_channels, num_classes):
    return MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=backbone,
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', in_channels=in_channels, num_classes=num_classes),
        )
    )


@pytest.mark.parametrize('network', NETWORKS.values(), ids=NETWORKS)
def test_names_counts_and_logits_are_the_literatures(network):
    model = classifier(network['backbone'], network['in_channels'], network['num_classes']).eval()
    state = {}
    for name, value in model.state_dict().items():
        for ours, theirs in network['names'].items():
            name = name.replace(ours, theirs)
        state[name] = value

    assert sum(p.numel() for p in model.parameters()) == network['parameters']
    assert shapes_digest({name: v.shape for name, v in state.items()}) == network['shapes']

    with torch.no_grad():
        for name, value in state.items():
            value.copy_(torch.from_numpy(np.asarray(fill(name, value.shape))))
        logits = model(images(network['size']).float())
    expected = torch.tensor(network['logits'])
    tolerance = 1e-5 * network['largest_logit']
    torch.testing.assert_close(logits[:, :5], expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize('depth', [18, 34, 50])
def test_imagenet_resnets_of_mmpretrain_are_torchvisions(depth):
    """And so mdistiller's, which copies torchvision."""
    theirs = getattr(torchvision.models, f'resnet{depth}')(weights=None).eval()
    ours = classifier(dict(type='ResNet', depth=depth), theirs.fc.in_features, 1000).eval()
    ours.load_state_dict(
        {
            f'head.{name}' if name.startswith('fc.') else f'backbone.{name}': value
            for name, value in theirs.state_dict().items()
        }
    )
    x = images(64).float()
    with torch.no_grad():
        expected = theirs(x)
        tolerance = 1e-5 * expected.abs().max().item()
        torch.testing.assert_close(ours(x), expected, rtol=0, atol=tolerance)
