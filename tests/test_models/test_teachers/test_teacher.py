"""A teacher is a type: it is asked what it depends on, and is taken in in one place."""

import copy
import functools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from torch import nn

from aekt_mm.models import LogitDistiller
from aekt_mm.models.teachers import OnlineTeacher, Teacher, take_in, teacher_identity
from aekt_mm.models.teachers.wrapping import CallableTeacher
from aekt_mm.registry import MODELS

STUDENT = dict(
    type='ImageClassifier',
    backbone=dict(type='CIFARResNet', depth=8, stage_channels=(8, 8, 8, 8)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=5, in_channels=8),
)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 5))


class Level(Teacher):
    """A teacher of the user's own with an option, and weights that no option tells of."""

    num_classes = 5
    seed = 0

    def __init__(self, level=1, table=None):
        super().__init__()
        self.model, self.level = network(self.seed), level

    def forward(self, inputs, data_samples=None):
        return self.level * self.model(inputs)


class Plain:
    """The same as a callable, which is no Teacher."""

    def __init__(self, level=1):
        self.model, self._level = network(), level

    def __call__(self, inputs, data_samples):
        return self._level * self.model(inputs)


class Mean(Teacher):
    num_classes = 5

    def __init__(self, teachers):
        super().__init__()
        self.teachers = nn.ModuleList(map(build, teachers))

    def forward(self, inputs, data_samples=None):
        return sum(teacher(inputs) for teacher in self.teachers) / len(self.teachers)


def build(teacher):
    return MODELS.build(teacher) if isinstance(teacher, dict) else teacher


@pytest.fixture
def saved(tmp_path):
    """Two files of weights."""
    for seed in (0, 1):
        torch.save(network(seed).state_dict(), tmp_path / f'{seed}.pth')
    return [str(tmp_path / f'{seed}.pth') for seed in (0, 1)]


def online(checkpoint):
    return dict(type=OnlineTeacher, model=dict(type=network), checkpoint=checkpoint)


def same(first, second):
    """Whether two identities are equal as files have them."""
    return json.loads(json.dumps(first)) == json.loads(json.dumps(second))


@pytest.mark.parametrize('kind', [Level, Plain])
def test_options_are_part_of_what_a_teacher_is(kind):
    known = teacher_identity(dict(type=kind, level=1))
    assert same(known, teacher_identity(dict(type=kind)))  # the default
    assert not same(known, teacher_identity(dict(type=kind, level=5)))
    given = [take_in(kind(level), nn.Identity()).identity() for level in (1, 1, 5)]
    assert same(given[0], given[1])
    assert not same(given[0], given[2])


def test_weights_that_no_option_tells_of(monkeypatch):
    known = teacher_identity(dict(type=Level))
    monkeypatch.setattr(Level, 'seed', 1)
    assert not same(known, teacher_identity(dict(type=Level)))


def test_a_file_is_its_content(tmp_path):
    found = []
    for name, content in (('a', 'one'), ('b', 'one'), ('c', 'two')):
        (tmp_path / name).write_text(content)
        found.append(teacher_identity(dict(type=Level, table=str(tmp_path / name))))
    assert same(found[0], found[1])
    assert not same(found[0], found[2])


def test_a_teacher_of_teachers(saved):
    both = teacher_identity(dict(type=Mean, teachers=[online(path) for path in saved]))
    swapped = teacher_identity(dict(type=Mean, teachers=[online(path) for path in saved[::-1]]))
    assert not same(both, swapped)
    teacher = Mean([build(online(path)) for path in saved])
    known = teacher.identity()
    student = MODELS.build(dict(type='BatchPreprocessor', mean=[9.0] * 3, std=[2.0] * 3))
    for member in teacher.teachers:
        member.adapter.own = dict(mean=[1.0] * 3, std=[2.0] * 3)
    teacher.attach(None, student)
    assert all(member.adapter.scale is not None for member in teacher.teachers)
    assert same(known['teachers'], teacher.identity()['teachers'])  # by whomever it is asked
    prepared = []
    for member in teacher.teachers:
        member.prepare = prepared.append
    teacher.prepare('samples')
    assert prepared == ['samples', 'samples']


def test_of_an_online_teacher_it_is_as_caches_have_it(saved):
    """So that they are read further on, whether the teacher was built or not."""
    config = online(saved[0])
    known = teacher_identity(config)
    assert set(known) == {'type', 'model', 'data_preprocessor', 'channel_order', 'checkpoint'}
    assert known['type'] == 'OnlineTeacher'
    assert known['checkpoint'].startswith('blake2b ')
    assert same(build(config).identity(), known)
    assert not same(known, teacher_identity(online(saved[1])))
    # of a network that is given, the weights
    given = [OnlineTeacher(network(seed), checkpoint=None).identity() for seed in (0, 0, 1)]
    assert same(given[0], given[1])
    assert not same(given[0], given[2])


class Sharper(OnlineTeacher):
    def __init__(self, sharpness=1.0, **options):
        super().__init__(**options)
        self.sharpness = sharpness


def test_options_of_a_class_derived_from_an_online_teacher(saved):
    known = [teacher_identity(dict(online(saved[0]), type=Sharper, sharpness=s)) for s in (1, 1, 2)]
    assert same(known[0], known[1])
    assert not same(known[0], known[2])
    other = teacher_identity(dict(online(saved[0]), type=Sharper, channel_order='BGR'))
    assert not same(known[0], other)


def test_functions_are_what_they_hold():
    def of(level, other=2):
        def teach(inputs, data_samples, scale=other):
            return level * scale * inputs.flatten(1)[:, :5]

        return take_in(teach, nn.Identity()).identity()

    assert same(of(1), of(1))
    assert not same(of(1), of(5))
    assert not same(of(1), of(1, other=3))

    methods = [take_in(Plain(level).__call__, nn.Identity()).identity() for level in (1, 1, 5)]
    assert same(methods[0], methods[1])
    assert not same(methods[0], methods[2])

    def ask(level, inputs, data_samples):
        return level * inputs

    partials = [take_in(functools.partial(ask, level), nn.Identity()) for level in (1, 1, 5)]
    assert same(partials[0].identity(), partials[1].identity())
    assert not same(partials[0].identity(), partials[2].identity())


def test_a_callable_attaches_the_teachers_that_it_holds():
    """An ensemble from before there was a type goes on knowing the student's images."""

    class Ensemble(nn.Module):
        def __init__(self):
            super().__init__()
            own = dict(mean=[120.0] * 3, std=[60.0] * 3)
            self.members = nn.ModuleList(
                OnlineTeacher(network(seed), None, data_preprocessor=own) for seed in (0, 1)
            )

        def forward(self, inputs, data_samples=None):
            return sum(member(inputs) for member in self.members) / 2

    ensemble = Ensemble()
    members = list(ensemble.members)
    for call in (ensemble, lambda inputs, data_samples: sum(m(inputs) for m in members)):
        teacher = take_in(call, nn.Identity())
        assert isinstance(teacher, CallableTeacher)
        for mean in (10.0, 20.0):
            preprocessor = dict(type='BatchPreprocessor', mean=[mean] * 3, std=[2.0] * 3)
            teacher.attach(None, MODELS.build(preprocessor))
            for member in members:
                assert member.adapter.shift.flatten()[0].item() == pytest.approx((mean - 120) / 60)


def test_a_distiller_keeps_it_to_itself():
    """Out of its parameters, on its device, and shared by its copies, whatever was given."""
    for given in (Level(), Plain(), network(), lambda inputs, data_samples: inputs):
        model = LogitDistiller(STUDENT, given, dict(kd=dict(type='KDLoss')))
        assert isinstance(model.teacher, Teacher)
        assert not any('teacher' in name for name, _ in model.named_modules())
        assert not any('teacher' in name for name in model.state_dict())
        assert copy.deepcopy(model).teacher is model.teacher
        model.train()
        assert not any(module.training for module in model.teacher.modules())
        assert not any(p.requires_grad for p in model.teacher.parameters())
        model.prepare([])
    model = LogitDistiller(STUDENT, Level(), dict(kd=dict(type='KDLoss'))).double()
    assert model.teacher.model[1].weight.dtype == torch.float64


def test_data_are_handed_on():
    seen = []

    class Curious(Level):
        def attach(self, loader, preprocessor, epochs=None):
            seen.append((loader, epochs))

    teacher = Mean([Curious(), Curious()])
    loader = SimpleNamespace()
    teacher.attach(loader, None)
    teacher.attach(loader, None, 3)
    assert seen == [(loader, None)] * 2 + [(loader, 3)] * 2


def test_features_of_who_has_none_are_refused():
    with pytest.raises(ValueError, match="the teacher Level has no features, but '0' is asked for"):
        Level().tap(['0'])


class Files(list):
    pipeline = (dict(type='LoadImageFromFile'),)
    metainfo = dict(classes=['a', 'b', 'c', 'd', 'e'])

    def get_gt_labels(self):
        return np.arange(4)


@pytest.mark.parametrize('hook', [True, False])
def test_a_run_shows_its_data_or_is_refused(hook, tmp_path):
    """Pixels of files, as they are: whether they are RGB or BGR, only the data tell."""
    samples = [
        dict(inputs=torch.randint(256, (3, 8, 8), dtype=torch.uint8), data_samples=sample)
        for sample in (DataSample().set_gt_label(label) for label in range(4))
    ]
    model = LogitDistiller(
        STUDENT,
        Mean([OnlineTeacher(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), None)]),
        dict(kd=dict(type='KDLoss')),
        data_preprocessor=dict(type='ClsDataPreprocessor', mean=[120.0] * 3, std=[60.0] * 3),
    )
    runner = Runner(
        model,
        str(tmp_path),
        train_dataloader=dict(
            dataset=Files(samples),
            batch_size=4,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[dict(type='aekt_mm.DistillCheckHook')] if hook else [],
        default_scope='aekt_mm',
        experiment_name=tmp_path.name,
    )
    if hook:
        runner.train()
        assert model.teacher.teachers[0].adapter.swap_channels
    else:
        with pytest.raises(RuntimeError, match=r"add dict\(type='aekt_mm\.DistillCheckHook'\)"):
            runner.train()
