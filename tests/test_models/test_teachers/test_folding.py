"""Folding batch norms changes the form of a network, not what it computes."""

import copy

import pytest
import torch
import torchvision
from torch import nn

from aekt_mm.models.teachers.folding import fold_batch_norms


def settle(network):
    """Give every batch norm statistics and weights of its own."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias.data):
                tensor.normal_(0, 0.1, generator=generator)
            for tensor in (module.running_var, module.weight.data):
                tensor.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


@pytest.mark.parametrize(
    ('name', 'count'),
    [('resnet18', 20), ('mobilenet_v2', 52), ('shufflenet_v2_x0_5', 56), ('vgg11_bn', 8)],
)
def test_real_networks(name, count):
    network = settle(torchvision.models.get_model(name))
    images = torch.randn(2, 3, 64, 64)
    expected = network(images)
    assert len(fold_batch_norms(network, images)) == count
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    other = torch.randn(3, 3, 96, 96)  # another batch than the one it was tried on
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)
    assert network(other).shape == (3, 1000)


class ReadTwice(nn.Module):
    """The convolution's output goes around the batch norm too."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.conv(x)
        return (x + self.norm(x)).flatten(1)


class CalledTwice(ReadTwice):
    def forward(self, x):
        x = self.norm(self.conv(x))
        return (x[:, :3] + self.conv(x[:, :3]).mean()).flatten(1)


class NormFirst(ReadTwice):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        return self.conv(self.norm(x)).flatten(1)


@pytest.mark.parametrize('kind', [ReadTwice, CalledTwice, NormFirst])
def test_what_can_not_be_folded_is_left(kind):
    network = settle(kind())
    before = copy.deepcopy(network.state_dict())
    images = torch.randn(2, 3, 8, 8)
    expected = network(images)
    assert fold_batch_norms(network, images) == {}
    assert network.state_dict().keys() == before.keys()
    torch.testing.assert_close(network(images), expected, rtol=0, atol=0)
