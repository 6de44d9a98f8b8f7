"""A teacher of the user's own never trains either."""

import functools

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmpretrain.structures import DataSample
from torch import nn

from aekt_mm.models import LogitDistiller, OnlineTeacher
from aekt_mm.models.classifiers import build_classifier
from aekt_mm.models.teachers import take_in

pytestmark = pytest.mark.stack

STUDENT = dict(
    type='ImageClassifier',
    backbone=dict(type='CIFARResNet', depth=8, stage_channels=(8, 8, 8, 8)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=5, in_channels=8),
)


def network():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(), nn.Linear(144, 5)
    )


class Teacher(nn.Module):
    """Takes samples too, as a teacher of ours."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, inputs, data_samples):
        return self.inner(inputs)


class Holder:
    def __init__(self, inner):
        self.members = {'all': [inner]}

    def __call__(self, inputs, data_samples):
        return self.ask(inputs, data_samples)

    def ask(self, inputs, data_samples):
        return self.members['all'][0](inputs)


def ask(net, inputs, data_samples):
    return net(inputs)


class GlobalName:
    """Finds its network by a global name."""

    def __init__(self, inner):
        globals()['NETWORK'] = inner

    def __call__(self, inputs, data_samples):
        return NETWORK(inputs)  # noqa: F821


WAYS = {
    'module': Teacher,
    'network': lambda inner: inner,
    'object': Holder,
    'method': lambda inner: Holder(inner).ask,
    'closure': lambda inner: lambda inputs, data_samples: inner(inputs),
    'default': lambda inner: lambda inputs, data_samples, net=inner: net(inputs),
    'partial': lambda inner: functools.partial(ask, inner),
    'global': GlobalName,
}


@pytest.mark.parametrize('way', WAYS)
def test_it_is_frozen(way):
    inner = network().train()
    before = {name: value.clone() for name, value in inner.state_dict().items()}
    model = LogitDistiller(STUDENT, WAYS[way](inner), dict(kd=dict(type='KDLoss'))).train()
    assert not any(module.training for module in inner.modules())
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    samples = [DataSample().set_gt_label(label) for label in range(4)]
    images = torch.randn(4, 3, 8, 8)
    for _ in range(2):
        model.train()
        model.train_step(dict(inputs=images, data_samples=samples), optimizer)
    for name, value in inner.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any(parameter.requires_grad for parameter in inner.parameters())
    logits = [model.teacher(images, samples) for _ in range(2)]
    assert logits[0].equal(logits[1])  # without dropout


def test_what_is_the_students_goes_on_learning():
    student, _ = build_classifier(STUDENT)

    def teacher(inputs, data_samples):
        return student(inputs) + later(inputs)

    model = LogitDistiller(student, teacher, dict(kd=dict(type='KDLoss')))
    later = network().eval()
    assert all(parameter.requires_grad for parameter in student.parameters())
    samples = [DataSample().set_gt_label(label) for label in range(4)]
    losses = model(torch.randn(4, 3, 8, 8), samples, mode='loss')
    losses['kd.loss'].backward()
    assert all(parameter.grad is None for parameter in later.parameters())


def test_networks_become_online_teachers():
    own = dict(mean=[120.0] * 3, std=[60.0] * 3)
    classifier, _ = build_classifier(dict(STUDENT, data_preprocessor=own))
    student = nn.Identity()
    for given in (network(), classifier):
        teacher = take_in(given, student)
        assert isinstance(teacher, OnlineTeacher)
        assert teacher.model is given
        assert take_in(teacher, student) is teacher
    assert teacher.adapter.own.mean.flatten().tolist() == [120.0] * 3
    assert take_in(None, student) is None
