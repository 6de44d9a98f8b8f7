"""A frozen teacher in every sense, with its own normalisation and weights that fit."""

import copy
import pickle
from types import SimpleNamespace

import pytest
import torch
import torchvision
from mmengine.config import Config
from torch import nn
from torch.utils.data import DataLoader

from aekt_mm.models.teachers import OnlineTeacher, input_adapter, online_teacher
from aekt_mm.models.teachers.input_adapter import trained_order
from aekt_mm.registry import MODELS
from aekt_mm.structures import config_order

pytestmark = pytest.mark.stack

RESNET18 = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=1000, in_channels=512),
)


def small_network(classes=5):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, classes)
    )


def test_frozen_in_every_sense():
    network = small_network()
    before = copy.deepcopy(network.state_dict())
    teacher = OnlineTeacher(network, checkpoint=None)
    owner = nn.ModuleList([teacher]).train()
    images = torch.randn(4, 3, 8, 8, requires_grad=True)
    for _ in range(3):
        logits = teacher(images)
    assert owner.training
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not logits.requires_grad
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert copy.deepcopy(teacher) is teacher


def test_logits_can_be_saved_for_backward():
    """Inference-mode tensors could not."""
    logits = OnlineTeacher(small_network(), checkpoint=None)(torch.randn(4, 3, 8, 8))
    student = torch.zeros(4, 5, requires_grad=True)
    (student * logits).sum().backward()
    torch.testing.assert_close(student.grad, logits)


def test_any_callable():
    teacher = OnlineTeacher(lambda images: images.mean((2, 3)), checkpoint=None)
    torch.testing.assert_close(teacher(torch.ones(2, 3, 4, 4)), torch.ones(2, 3))


def test_classes_of_a_teacher_that_knows_more():
    network = small_network(classes=6)
    teacher = OnlineTeacher(network, checkpoint=None, classes=[4, [0, 5, 2], 1])
    assert teacher.num_classes == 3
    images = torch.randn(4, 3, 8, 8)
    # the probabilities of what a class stands for, given that it is one of these three
    shares = teacher.model(images).detach().double().softmax(1)
    expected = torch.stack([shares[:, 4], shares[:, [0, 2, 5]].sum(1), shares[:, 1]], 1)
    torch.testing.assert_close(
        teacher(images).double().softmax(1), expected / expected.sum(1, keepdim=True)
    )
    alone = OnlineTeacher(network, checkpoint=None, classes=[3, 0])
    torch.testing.assert_close(alone(images), network(images).detach()[:, [3, 0]], rtol=0, atol=0)


@pytest.mark.parametrize(
    ('classes', 'message'),
    [
        ([0, 6], 'classes has 6, but those of the teacher are 0 to 5'),
        ([0, [1, 0]], r'must name a class of the teacher once, but has \[0\] twice'),
        ([0, []], r"for each of the student's, but has \[\]"),
        ([0, 'cat'], r"for each of the student's, but has \['c', 'a', 't'\]"),
    ],
)
def test_classes_that_the_teacher_has_not_are_refused(classes, message):
    with pytest.raises(ValueError, match=message):
        OnlineTeacher(small_network(classes=6), checkpoint=None, classes=classes)


def test_torchvision_model_by_name():
    model = dict(type='torchvision.models.resnet18', num_classes=7)
    teacher = MODELS.build(dict(type='OnlineTeacher', model=model, checkpoint=None))
    assert teacher.num_classes == 7
    assert teacher(torch.randn(2, 3, 32, 32)).shape == (2, 7)


def test_timm_model_by_name():
    pytest.importorskip('timm', reason='timm is not installed')
    model = dict(type='TimmClassifier', model_name='resnet18', num_classes=7)
    teacher = OnlineTeacher(model, checkpoint=None)
    assert teacher.num_classes == 7
    assert teacher(torch.randn(2, 3, 32, 32)).shape == (2, 7)


def test_config_path_brings_its_normalisation():
    teacher = OnlineTeacher('mmpretrain::resnet/resnet18_8xb32_in1k.py', checkpoint=None)
    assert teacher.num_classes == 1000
    assert teacher.adapter.own['mean'] == [123.675, 116.28, 103.53]


def test_torchvision_weights_into_mmpretrain(tmp_path):
    """The torchvision layout is recognised, and the logits are torchvision's."""
    source = torchvision.models.resnet18().eval()
    torch.save(source.state_dict(), tmp_path / 'resnet18.pth')
    teacher = OnlineTeacher(RESNET18, checkpoint=tmp_path / 'resnet18.pth')
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(teacher(images), source(images), rtol=1e-5, atol=1e-5)


class Pixels:
    """Stands for data: files, which mmcv reads as BGR, or arrays, which are RGB."""

    def __init__(self, order):
        self.pipeline = [dict(type='LoadImageFromFile')] * (order == 'BGR')

    def __len__(self):
        return 1


@pytest.mark.parametrize('data', ['RGB', 'BGR'])
@pytest.mark.parametrize('student_swaps', [True, False])
@pytest.mark.parametrize('order', ['RGB', 'BGR'])
def test_own_normalisation(data, student_swaps, order):
    """The teacher sees what it would have seen behind its own preprocessor, whatever the data."""
    student = dict(mean=[120.0, 110.0, 100.0], std=[50.0, 60.0, 70.0], to_rgb=student_swaps)
    own = dict(mean=[127.5, 120.0, 90.0], std=[127.5, 64.0, 32.0])
    preprocess = {
        name: MODELS.build(dict(type='ClsDataPreprocessor', **options))
        for name, options in (('student', student), ('teacher', dict(own, to_rgb=order != data)))
    }
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 5))
    teacher = OnlineTeacher(network, None, data_preprocessor=own, channel_order=order)
    teacher.attach(None, preprocess['student'])  # before the data are known
    teacher.attach(DataLoader(Pixels(data)), preprocess['student'])
    pixels = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    logits = teacher(preprocess['student'](dict(inputs=pixels))['inputs'])
    expected = network(preprocess['teacher'](dict(inputs=pixels))['inputs'])
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('order', ['RGB', 'BGR'])
def test_students_see_rgb_unless_the_data_say_otherwise(order):
    own = dict(mean=[127.5, 120.0, 90.0], std=[127.5, 64.0, 32.0])
    teacher = OnlineTeacher(small_network(), None, data_preprocessor=own, channel_order=order)
    for student in (
        dict(type='ClsDataPreprocessor', mean=[120.0] * 3, std=[60.0] * 3, to_rgb=True),
        dict(type='BatchPreprocessor', mean=[120.0] * 3, std=[60.0] * 3),
    ):
        teacher.attach(None, MODELS.build(student))
        assert teacher.adapter.swap_channels == (order == 'BGR')


@pytest.mark.parametrize('shown', [True, False])
def test_what_is_only_supposed_is_said(shown, monkeypatch):
    said = []
    monkeypatch.setattr(input_adapter, 'print_log', lambda text, **_: said.append(text))
    options = dict(mean=[120.0] * 3, std=[60.0] * 3)
    for swaps, warned in ((True, False), (False, not shown)):
        student = MODELS.build(dict(type='ClsDataPreprocessor', to_rgb=swaps, **options))
        teacher = OnlineTeacher(small_network(), checkpoint=None)
        teacher.attach(None, student)
        if shown:
            teacher.attach(DataLoader(Pixels('BGR')), student)
        for _ in range(2):
            teacher(torch.randn(2, 3, 8, 8))
        assert ['has not been shown the data' in text for text in said] == [True] * warned
        said.clear()


def test_a_bgr_teacher_without_a_normalisation_of_its_own():
    teacher = OnlineTeacher(small_network(), checkpoint=None, channel_order='BGR')
    student = MODELS.build(dict(type='BatchPreprocessor', mean=[9.0] * 3, std=[2.0] * 3))
    teacher.attach(None, student)
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(teacher(images), teacher.model(images.flip(1)))


@pytest.mark.parametrize(
    ('config', 'order'),
    [
        ('mmpretrain::resnet/resnet18_8xb32_in1k.py', 'RGB'),  # files, swapped
        ('mmpretrain::mobilevit/mobilevit-small_8xb128_in1k.py', 'BGR'),  # files as they are
        ('mmpretrain::resnet/resnet18_8xb16_cifar10.py', 'RGB'),  # arrays as they are
        ('aekt_mm::vanilla/vanilla_r18_imagenet.py', 'RGB'),
        ('aekt_mm::vanilla/vanilla_resnet18_tinyimagenet.py', 'RGB'),  # files in memory
        ('aekt_mm::vanilla/vanilla_resnet8_cifar100.py', 'RGB'),
    ],
)
def test_a_config_says_on_what_it_was_trained(config, order):
    assert trained_order(config) == order


def test_a_config_whose_files_are_cropped_as_they_are_decoded():
    crops = dict(type='aekt_mm.CropDataset', scale=8, dataset=dict(type='CustomDataset'))
    config = Config(dict(train_dataloader=dict(dataset=crops)))
    orders = [config_order(config, dict(to_rgb=to_rgb)) for to_rgb in (True, False)]
    assert orders == ['RGB', 'BGR']


def test_what_is_asked_no_more_is_refused():
    with pytest.raises(ValueError, match=r"takes no to_rgb.* or set channel_order='BGR'"):
        OnlineTeacher(small_network(), None, data_preprocessor=dict(mean=[0.0], to_rgb=True))
    with pytest.raises(ValueError, match="must be 'RGB' or 'BGR', but is 'rgb'"):
        OnlineTeacher(small_network(), None, channel_order='rgb')


def test_a_module_without_a_normalisation_takes_the_students():
    module = MODELS.build(dict(RESNET18))
    teacher = OnlineTeacher(module, checkpoint=None)
    student = MODELS.build(dict(type='BatchPreprocessor', mean=[9.0] * 3, std=[2.0] * 3))
    teacher.attach(None, student)
    assert teacher.adapter.scale is None


def test_equal_normalisation_costs_nothing():
    options = dict(mean=[120.0, 110.0, 100.0], std=[50.0, 60.0, 70.0])
    teacher = OnlineTeacher(small_network(), checkpoint=None, data_preprocessor=options)
    teacher.attach(None, MODELS.build(dict(type='ClsDataPreprocessor', **options, to_rgb=True)))
    assert teacher.adapter.scale is None
    assert not teacher.adapter.swap_channels


class TestCheckpoints:
    def save(self, folder, content):
        torch.save(content, folder / 'teacher.pth')
        return folder / 'teacher.pth'

    @pytest.mark.parametrize('wrap', ['state_dict', 'model', None])
    @pytest.mark.parametrize('prefix', ['', 'module.'])
    def test_layouts(self, tmp_path, wrap, prefix):
        network = small_network()
        state = {prefix + k: v for k, v in network.state_dict().items()}
        path = self.save(tmp_path, {wrap: state, 'epoch': 3} if wrap else state)
        teacher = OnlineTeacher(small_network(), checkpoint=path)
        images = torch.randn(2, 3, 8, 8)
        torch.testing.assert_close(teacher(images), network.eval()(images))

    def test_mismatch_names_everything_and_loads_nothing(self, tmp_path):
        state = small_network().state_dict()
        state['extra.weight'] = torch.zeros(2)
        del state['0.bias']
        state['4.weight'] = torch.zeros(6, 144)
        network = small_network()
        before = copy.deepcopy(network.state_dict())
        with pytest.raises(ValueError, match='nothing was loaded') as error:
            OnlineTeacher(network, checkpoint=self.save(tmp_path, state))
        for part in ('missing: 0.bias', 'left over: extra.weight', r'4.weight is (6, 144)'):
            assert part in str(error.value)
        for name, value in network.state_dict().items():
            assert torch.equal(value, before[name]), name

    def test_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r'nowhere\.pth'):
            OnlineTeacher(small_network(), checkpoint=tmp_path / 'nowhere.pth')

    def test_truncated(self, tmp_path):
        path = self.save(tmp_path, small_network().state_dict())
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(ValueError, match=r'teacher\.pth'):
            OnlineTeacher(small_network(), checkpoint=path)

    def test_code_is_not_run(self, tmp_path):
        witness = tmp_path / 'witness'

        class Evil:
            def __reduce__(self):
                return (open, (str(witness), 'w'))

        path = tmp_path / 'evil.pth'
        torch.save({'model': small_network().state_dict(), 'payload': Evil()}, path)
        with pytest.raises(ValueError, match=r'evil\.pth'):
            OnlineTeacher(small_network(), checkpoint=path)
        path.write_bytes(pickle.dumps(Evil()))
        with pytest.raises(ValueError, match=r'evil\.pth'):
            OnlineTeacher(small_network(), checkpoint=path)
        assert not witness.exists()

    def test_of_a_distillation_run(self, tmp_path):
        state = {f'student.{k}': v for k, v in small_network().state_dict().items()}
        with pytest.raises(ValueError, match='publish_student'):
            OnlineTeacher(small_network(), checkpoint=self.save(tmp_path, state))

    def test_unknown_torchvision_name(self):
        with pytest.raises(ValueError, match="no weights 'resnet19'"):
            OnlineTeacher(RESNET18, checkpoint='torchvision://resnet19')


class TestNamesOfClasses:
    NAMES = ('ant', 'bee', 'cat', 'cow', 'dog')

    def attach(self, tmp_path, names, meta=None, **options):
        path = tmp_path / 'teacher.pth'
        meta = dict(dataset_meta=dict(classes=list(self.NAMES))) if meta is None else meta
        torch.save(dict(state_dict=small_network().state_dict(), meta=meta), path)
        teacher = OnlineTeacher(small_network(), checkpoint=path, **options)
        dataset = SimpleNamespace(metainfo=dict(classes=names), channel_order='RGB')
        teacher.attach(SimpleNamespace(dataset=dataset), {})
        return teacher

    def test_the_same(self, tmp_path):
        assert self.attach(tmp_path, list(self.NAMES)).class_names == self.NAMES
        old = dict(CLASSES=list(self.NAMES))
        assert self.attach(tmp_path, self.NAMES, old).class_names == self.NAMES
        for unknown in (dict(), dict(dataset_meta=None), dict(dataset_meta=dict(classes=None))):
            assert self.attach(tmp_path, self.NAMES[::-1], unknown).class_names == ()

    def test_two_are_swapped(self, tmp_path):
        swapped = ('ant', 'cat', 'bee', 'cow', 'dog')
        with pytest.raises(ValueError, match="1 is its 'bee', but 'cat' in the data") as refused:
            self.attach(tmp_path, swapped)
        assert str(refused.value).endswith('classes=[0, 2, 1, 3, 4]')
        self.attach(tmp_path, swapped, classes=[0, 2, 1, 3, 4])
        with pytest.raises(ValueError, match=r'classes=\.\.\.$'):
            self.attach(tmp_path, ('bee', 'emu', 'cat'))

    def test_other_names_for_all_are_said(self, tmp_path, monkeypatch):
        said = []
        monkeypatch.setattr(online_teacher, 'print_log', lambda text, *_, **__: said.append(text))
        self.attach(tmp_path, ('n01', 'n02', 'n03', 'n04', 'n05'))
        assert len(said) == 1 and "('ant', ... and 'n01', ...)" in said[0]

    def test_of_mmpretrains_get_model(self):
        network = small_network()
        network._dataset_meta = dict(classes=list(self.NAMES))
        assert OnlineTeacher(network, checkpoint=None).class_names == self.NAMES


@pytest.mark.parametrize('returned', [None, (1, 2), torch.zeros(2, 3, 4)])
def test_not_logits(returned):
    teacher = OnlineTeacher(lambda images: returned, checkpoint=None)
    with pytest.raises(TypeError, match=r'must map images to logits \(N, C\)'):
        teacher(torch.zeros(2, 3, 4, 4))
