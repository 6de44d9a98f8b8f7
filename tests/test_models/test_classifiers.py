"""What distillation needs of a classifier."""

import pytest
import torch
from mmengine.config import ConfigDict
from torch import nn

from aekt_mm.models.classifiers import (
    build_classifier,
    num_classes,
    output_layers,
    read_classifier,
    run,
    trial_images,
)

pytestmark = pytest.mark.stack

RESNET18 = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'

CONFIG = """
model = dict(
    type='ImageClassifier',
    backbone=dict(type='CIFARResNet', depth=8),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=7, in_channels=64),
)
data_preprocessor = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0])
"""


def vision_transformer(backbone='VisionTransformer', head='VisionTransformerClsHead', **options):
    arch = dict(embed_dims=24, num_layers=1, num_heads=2, feedforward_channels=24)
    return dict(
        type='ImageClassifier',
        backbone=dict(type=backbone, arch=arch, img_size=64, patch_size=32),
        head=dict(type=head, num_classes=6, in_channels=24, **options),
    )


def test_a_path_brings_its_preprocessing(tmp_path):
    path = tmp_path / 'network.py'
    path.write_text(CONFIG)
    for spec in (path, str(path)):
        classifier, preprocessor = build_classifier(spec)
        assert classifier(torch.rand(2, 3, 32, 32)).shape == (2, 7)
        assert (preprocessor['mean'], preprocessor['std']) == ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
        assert num_classes(classifier) == 7


def test_a_path_into_an_installed_package():
    spec = read_classifier(RESNET18)
    assert isinstance(spec, ConfigDict)
    assert (spec.backbone.depth, spec.head.num_classes) == (18, 1000)
    assert spec.data_preprocessor.mean == [123.675, 116.28, 103.53]


def test_callables_are_taken_as_they_are():
    module = nn.Linear(3, 4)
    assert build_classifier(module) == (module, None)
    assert build_classifier(torch.sum) == (torch.sum, None)
    assert num_classes(torch.sum) is None


@pytest.mark.parametrize(
    ('spec', 'error', 'message'),
    [
        (3, TypeError, 'callable from images to logits, but got int: 3'),
        ('nowhere/network.py', FileNotFoundError, r'nowhere/network\.py'),
        ('no_such_package::a/b.py', FileNotFoundError, 'no_such_package is not installed'),
    ],
)
def test_anything_else_is_refused(spec, error, message):
    with pytest.raises(error, match=message):
        build_classifier(spec)


def test_a_config_without_a_model_is_refused(tmp_path):
    path = tmp_path / 'empty.py'
    path.write_text('lr = 0.1')
    with pytest.raises(ValueError, match=r'empty\.py defines no `model`'):
        build_classifier(path)


@pytest.mark.parametrize(
    ('spec', 'layers'),
    [
        (vision_transformer(), ['layers.head']),
        (vision_transformer(hidden_dim=8), ['layers.head']),
        (
            vision_transformer('DistilledVisionTransformer', 'DeiTClsHead'),
            ['layers.head', 'layers.head_dist'],
        ),
        (dict(type='TimmClassifier', model_name='resnet10t', num_classes=6), ['model.fc']),
    ],
    ids=['vit', 'vit-hidden', 'deit', 'timm'],
)
def test_output_layers_and_trial_images(spec, layers):
    if spec['type'] == 'TimmClassifier':
        pytest.importorskip('timm')
    classifier, _ = build_classifier(spec)
    classifier.eval()
    modules = dict(getattr(classifier, 'head', classifier).named_modules())
    assert num_classes(classifier) == 6
    found = output_layers(classifier)
    assert len(found) == len(layers)
    assert all(layer is modules[name] for layer, name in zip(found, layers))
    images = trial_images(classifier)
    assert images.shape == (4, 3, 32, 32)
    assert classifier(images).shape == (4, 6)
    assert images.equal(trial_images(classifier))


def test_trial_images_grow_until_they_fit():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 2))
    assert trial_images(network).shape == (4, 3, 64, 64)


def test_a_network_of_no_images_is_refused():
    with pytest.raises(ValueError, match='Linear takes RGB images of none of the sizes'):
        trial_images(nn.Linear(5, 5))


def test_what_does_not_fit_is_said_to_be_whose():
    images = torch.rand(2, 3, 8, 8)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    for whose, network, said in (
        ('student', head, r'its linear layer to 10 takes 64 features, but is given 3: in_channels'),
        ('teacher', nn.Conv2d(4, 5, 3), '.* to have 4 channels, but got 3'),
        ('teacher', nn.Conv2d(3, 5, 9), '.*ernel size'),
    ):
        with pytest.raises(ValueError, match=rf'{whose}, given images \(2, 3, 8, 8\): {said}'):
            run(network, images, whose)
    with pytest.raises(ValueError, match=r'of one image: set train_dataloader\.drop_last=True'):
        run(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3)), images[:1], 'student')

    def fails(inputs):
        raise error

    for error in (RuntimeError('CUDA error'), torch.OutOfMemoryError('of this size')):
        with pytest.raises(type(error)) as unchanged:
            run(fails, images, 'student')
        assert unchanged.value is error
