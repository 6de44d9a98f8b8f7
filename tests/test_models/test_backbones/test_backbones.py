import importlib.util
import inspect
import math
import re
import sys

import pytest
import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import nn
from torch.nn import functional as F

from aekt_mm.models import backbones
from aekt_mm.models.backbones import (
    CIFARVGG,
    CIFARMobileNetV2,
    CIFARResNet,
    CIFARShuffleNetV1,
    CIFARShuffleNetV2,
    CIFARWideResNet,
    MicroNet,
    MobileNetV1,
)
from aekt_mm.models.backbones.cifar_resnet import BasicBlock

pytestmark = pytest.mark.stack

SMALLEST = {
    CIFARResNet: dict(depth=8),
    CIFARWideResNet: dict(depth=10, widen_factor=1),
    CIFARVGG: dict(depth=8),
    CIFARMobileNetV2: dict(),
    CIFARShuffleNetV1: dict(),
    CIFARShuffleNetV2: dict(),
    MicroNet: dict(),
    MobileNetV1: dict(),
}
EVERY_FAMILY = pytest.mark.parametrize(
    ('family', 'options'), SMALLEST.items(), ids=lambda value: getattr(value, '__name__', '')
)


def classifier(backbone, in_channels, **head):
    return MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=backbone,
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', in_channels=in_channels, num_classes=100, **head),
        )
    )


def test_every_family_is_exported_and_tried():
    assert {family.__name__ for family in SMALLEST} == set(backbones.__all__)


@EVERY_FAMILY
def test_gradients_reach_every_parameter_in_either_memory_format(family, options):
    torch.manual_seed(0)
    model = family(**options).double()
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    gradients = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        model.zero_grad()
        [features] = model(x.contiguous(memory_format=memory_format))
        # batch norm makes the plain sum of squares nearly constant: weight it
        weights = torch.linspace(-1, 1, features.numel(), dtype=torch.float64)
        (features.contiguous().flatten() * weights).sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    for one, other in zip(*gradients):
        assert one.abs().max() > 0
        torch.testing.assert_close(one, other)


@EVERY_FAMILY
def test_a_copy_of_the_file_builds_the_same_beside_the_package(family, options, tmp_path):
    """A published student brings the file of its backbone, and nothing of the package."""
    source = inspect.getsource(sys.modules[family.__module__])
    imported = set(re.findall(r'^(?:from|import) (\w*)', source, re.MULTILINE))
    assert imported <= {'collections', 'torch', 'mmengine', 'mmpretrain'}

    copy = tmp_path / 'copy.py'
    copy.write_text(source, encoding='utf-8')
    spec = importlib.util.spec_from_file_location(f'copy_of_{family.__name__}', copy)
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        theirs = MODELS.build(dict(type=family.__name__, **options))
    finally:
        MODELS.register_module(module=family, force=True)
    assert type(theirs) is not family
    theirs.load_state_dict(family(**options).state_dict())


@pytest.mark.parametrize(
    ('family', 'options', 'message'),
    [
        (CIFARResNet, dict(depth=21), 'depth must be 6n [+] 2 .*not 21'),
        (CIFARResNet, dict(depth=2), 'depth must be 6n [+] 2 .*not 2'),
        (CIFARResNet, dict(depth=8, stage_channels=(16, 32, 64)), 'stage_channels must be four'),
        (CIFARResNet, dict(depth=8, stage_channels=(16, 0, 32, 64)), 'stage_channels must be four'),
        (CIFARWideResNet, dict(depth=18, widen_factor=1), 'depth must be 6n [+] 4 .*not 18'),
        (CIFARWideResNet, dict(depth=4, widen_factor=1), 'depth must be 6n [+] 4 .*not 4'),
        (CIFARWideResNet, dict(depth=16, widen_factor=0), 'widen_factor must be .*not 0'),
        (CIFARWideResNet, dict(depth=16, widen_factor=1.5), 'widen_factor must be .*not 1.5'),
        (CIFARVGG, dict(depth=12), 'depth must be one of .*not 12'),
        (CIFARMobileNetV2, dict(widen_factor=0), 'widen_factor must be .*not 0'),
        (CIFARMobileNetV2, dict(widen_factor=1.4), 'widen_factor must be .*not 1.4'),
    ],
)
def test_networks_that_do_not_exist_are_refused(family, options, message):
    with pytest.raises(ValueError, match=message):
        family(**options)


def test_images_may_have_one_channel():
    [features] = CIFARResNet(depth=8, in_channels=1)(torch.zeros(2, 1, 8, 8))
    assert features.shape == (2, 64, 2, 2)


@pytest.mark.parametrize('family', [CIFARResNet, CIFARWideResNet, CIFARVGG, CIFARMobileNetV2])
def test_convolutions_start_normal_with_the_fan_out(family):
    torch.manual_seed(0)
    model = family(**SMALLEST[family])
    model.init_weights()
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    normalised = []
    for m in convolutions:
        fan_out = math.prod(m.kernel_size) * m.out_channels
        normalised.append(m.weight.flatten() / math.sqrt(2 / fan_out))
        assert m.bias is None or not m.bias.any()
    z = torch.cat(normalised)
    assert z.mean().abs() < 5 / math.sqrt(z.numel())
    assert (z.var() - 1).abs() < 5 * math.sqrt(2 / z.numel())
    assert (z.abs() > 2).double().mean() == pytest.approx(0.0455, abs=0.01)  # a normal's tails


@pytest.mark.parametrize('family', [CIFARShuffleNetV1, CIFARShuffleNetV2, MicroNet, MobileNetV1])
def test_torch_initialises_where_the_literature_leaves_it_to_torch(family):
    model = family()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.init_weights()
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


def test_a_head_without_init_cfg_starts_as_torchs_linear_layer_does():
    model = classifier(dict(type='CIFARResNet', depth=8), 64, init_cfg=None)
    before = [p.clone() for p in model.head.parameters()]
    model.init_weights()
    assert all(p.equal(b) for p, b in zip(model.head.parameters(), before))


def test_the_head_of_a_wide_resnet_can_start_as_in_the_literature():
    """By the config in the docstring: torch's weight, and no bias."""
    config = re.search(r'init_cfg=(dict\(.*?\))``', inspect.getdoc(CIFARWideResNet), re.DOTALL)
    torch.manual_seed(0)
    model = classifier(
        dict(type='CIFARWideResNet', depth=16, widen_factor=2), 128, init_cfg=eval(config[1])
    )
    model.init_weights()
    bound = 1 / math.sqrt(128)  # torch draws uniformly within
    assert 0.99 * bound < model.head.fc.weight.abs().max() <= bound
    assert model.head.fc.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert not model.head.fc.bias.any()


def test_backbones_take_mmengines_init_cfg():
    model = CIFARResNet(depth=8, init_cfg=dict(type='Constant', layer='Conv2d', val=3.0))
    assert isinstance(model, BaseModule)
    model.init_weights()
    assert (model.conv1.weight == 3).all()


@pytest.mark.parametrize(('channels', 'size'), [(8, 64), (12, 33), (16, 32)])
def test_shortcuts_of_any_width(channels, size):
    """Against torch's own in float64, not channels-last; some of it crashed."""
    torch.manual_seed(0)
    shortcut = BasicBlock(channels, 2 * channels, stride=2).downsample[0]
    images = torch.rand(4, channels, size, size).to(memory_format=torch.channels_last)
    images.requires_grad_()
    output = shortcut(images)
    weight = torch.rand_like(output)
    (output * weight).sum().backward()
    x, w = (t.detach().double().contiguous().requires_grad_() for t in (images, shortcut.weight))
    expected = F.conv2d(x, w, stride=2)
    gradients = torch.autograd.grad((expected * weight).sum(), (x, w))
    for found, of in zip((output, images.grad, shortcut.weight.grad), (expected, *gradients)):
        torch.testing.assert_close(found.double(), of.detach(), rtol=1e-4, atol=1e-4)
