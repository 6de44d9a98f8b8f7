"""Features by path, of networks of any origin."""

import copy

import pytest
import torch
from torch import nn

from aekt_mm.models import OnlineTeacher
from aekt_mm.models.taps import FeatureTaps
from aekt_mm.registry import MODELS, build

pytestmark = pytest.mark.stack


def classifier_config(depth=8):
    return dict(
        type='ImageClassifier',
        backbone=dict(type='CIFARResNet', depth=depth, stage_channels=(4, 4, 8, 8)),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=5, in_channels=8),
    )


def classifier(depth=8):
    return build(MODELS, classifier_config(depth))


def see(network, paths, images, taps=None):
    taps = taps or FeatureTaps(network, paths)
    taps.measure(network, images)
    taps.watch()
    network(images)
    return taps.take()


def test_gives_what_the_modules_gave():
    network, images = classifier().eval(), torch.rand(2, 3, 8, 8)
    features = see(network, ['backbone', 'backbone.layer2', 'neck'], images)
    backbone = network.backbone
    stem = backbone.relu(backbone.bn1(backbone.conv1(images)))
    second = backbone.layer2(backbone.layer1(stem))
    torch.testing.assert_close(features['backbone.layer2'], second)
    torch.testing.assert_close(features['backbone'], backbone(images)[0])
    torch.testing.assert_close(features['neck'], backbone(images)[0].mean((2, 3)))


def test_the_input_of_the_last_relu_is_the_preactivation():
    network, images = classifier(14).eval(), torch.rand(2, 3, 8, 8)
    path = 'backbone.layer1.-1.relu:input'
    features = see(network, [path, 'backbone.layer1'], images)
    assert (features[path] < 0).any()
    torch.testing.assert_close(features[path].relu(), features['backbone.layer1'])


def test_what_is_changed_in_place_afterwards_is_seen_as_it_was():
    """A batch norm's output, which an in-place ReLU overwrites; with its gradient."""
    network, images = classifier().eval(), torch.rand(2, 3, 8, 8)
    features = see(network, ['backbone.bn1'], images)
    expected = network.backbone.bn1(network.backbone.conv1(images))
    torch.testing.assert_close(features['backbone.bn1'], expected)
    features['backbone.bn1'].square().sum().backward()
    assert network.backbone.conv1.weight.grad.abs().sum() > 0


def test_nothing_is_kept_between_steps():
    network, images = classifier().eval(), torch.rand(2, 3, 8, 8)
    taps = FeatureTaps(network, ['neck'])
    network(images)
    assert taps.features is None
    see(network, ['neck'], images, taps)
    assert taps.features is None


def test_measuring_changes_nothing():
    network = classifier().train()
    before = copy.deepcopy(network.state_dict())
    FeatureTaps(network, ['neck']).measure(network, torch.rand(2, 3, 8, 8))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_copy_of_a_network_has_taps_of_its_own():
    network = classifier().eval()
    both = nn.ModuleDict(dict(network=network))
    both.taps = FeatureTaps(network, ['neck'])
    twin = copy.deepcopy(both)
    twin.taps.watch()
    twin.network(torch.rand(2, 3, 8, 8))
    assert both.taps.features is None
    assert twin.taps.take()['neck'].shape == (2, 8)


def test_a_wrong_path_is_answered_with_near_ones():
    with pytest.raises(ValueError, match=r"student has no module 'backbone.layer7': near it are b"):
        FeatureTaps(classifier(), ['backbone.layer7'], 'student')
    with pytest.raises(ValueError, match=r"no module 'xyz': it has data_preprocessor, backbone"):
        FeatureTaps(classifier(), ['xyz'])


def test_a_module_that_does_not_run():
    network = classifier().eval()
    network.spare = nn.Identity()
    with pytest.raises(RuntimeError, match="the student did not run its module 'spare'"):
        FeatureTaps(network, ['spare'], 'student').measure(network, torch.rand(2, 3, 8, 8))


def test_a_module_that_gives_no_tensor():
    network = nn.Sequential(nn.LSTM(3, 4))
    with pytest.raises(TypeError, match="one tensor, but the network's '0' gives tuple"):
        FeatureTaps(network, ['0']).measure(network, torch.rand(2, 5, 3))


@pytest.mark.parametrize(
    ('config', 'path'),
    [
        (dict(type='torchvision.models.resnet18'), 'layer3'),
        (dict(type='TimmClassifier', model_name='resnet18'), 'model.layer3'),
        (dict(type='ImageClassifier', backbone=dict(type='ResNet', depth=18)), 'backbone.layer3'),
    ],
    ids=['torchvision', 'timm', 'mmpretrain'],
)
def test_networks_of_any_origin(config, path):
    if config['type'] == 'TimmClassifier':
        pytest.importorskip('timm', reason='timm is not installed')
    network = build(MODELS, config)
    [feature] = FeatureTaps(network, [path]).measure(network, torch.rand(2, 3, 64, 64)).values()
    assert feature.shape == (2, 256, 4, 4)


@pytest.mark.parametrize(
    'path', ['backbone.layer1', 'backbone.bn1', 'backbone.layer3.-1.relu:input', 'neck']
)
def test_a_teacher_with_folded_batch_norms_has_the_same_features(path, tmp_path):
    network = classifier(14)
    for module in network.modules():  # statistics as after training
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    torch.save(network.state_dict(), tmp_path / 'network.pth')
    folded = OnlineTeacher(classifier_config(14), checkpoint=tmp_path / 'network.pth')
    assert folded.folded
    images, seen = torch.rand(2, 3, 32, 32), []
    for teacher in (folded, OnlineTeacher(network, checkpoint=None)):
        taps = teacher.tap([path])
        taps.measure(teacher, images)
        taps.watch()
        teacher(images)
        seen.append(taps.take()[path])
    torch.testing.assert_close(*seen, rtol=1e-4, atol=1e-4)
    assert not seen[0].is_inference()


def test_a_folded_convolution_is_refused_for_its_batch_norm():
    teacher = OnlineTeacher(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), checkpoint=None)
    teacher.folded = {'0': '1'}
    with pytest.raises(ValueError, match="'0' has the batch norm '1' folded into it: name '1'"):
        teacher.tap(['0'])
