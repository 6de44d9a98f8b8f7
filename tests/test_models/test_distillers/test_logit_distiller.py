"""Where student, teacher, connector and losses meet."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmpretrain.structures import DataSample
from torch import nn

from aekt_mm.datasets import ArrayDataset
from aekt_mm.models import DKDLoss, KDLoss, LogitDistiller, OnlineTeacher, TaskSerializationFC
from aekt_mm.registry import MODELS
from aekt_mm.structures import BatchSample, ViewKey

pytestmark = pytest.mark.stack


def network(depth=8, classes=10, **head):
    return dict(
        type='ImageClassifier',
        backbone=dict(type='CIFARResNet', depth=depth, stage_channels=(8, 8, 8, 8)),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=classes, in_channels=8, **head),
    )


several_labels = dict(type='MultiLabelLinearClsHead', num_classes=10, in_channels=8)


def distiller(student=None, teacher=None, **options):
    torch.manual_seed(0)
    options.setdefault('losses', dict(dkd=dict(type='DKDLoss', beta=2.0)))
    teacher = teacher or dict(type='OnlineTeacher', model=network(14), checkpoint=None)
    return LogitDistiller(student or network(), teacher, **options)


def batch(n=6, classes=10):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(n, 3, 8, 8, generator=generator)
    return images, BatchSample(gt_label=torch.randint(classes, (n,), generator=generator))


def unfolded(samples):
    return [DataSample().set_gt_label(label) for label in samples.gt_label]


@pytest.mark.parametrize('connector', [None, 'distill_then_classify', 'classify_then_distill'])
def test_losses_are_those_of_the_parts(connector):
    fc = connector and TaskSerializationFC(10, order=connector, init='default')
    model = distiller(connector=fc).eval()
    images, samples = batch()
    logits = classification = distillation = model.student(images)
    if connector == 'distill_then_classify':
        classification = fc.fc(logits)
    elif connector == 'classify_then_distill':
        distillation = fc.fc(logits)
    expected = DKDLoss(beta=2.0)(distillation, model.teacher(images), samples.gt_label)
    losses = model(images, samples, mode='loss')
    torch.testing.assert_close(losses['loss_ce'], F.cross_entropy(classification, samples.gt_label))
    for name, value in expected.items():
        torch.testing.assert_close(losses[f'dkd.{name}'], value)
    student, teacher = classification.argmax(1), model.teacher(images).argmax(1)
    for name, hits in (
        ('student_top1', student == samples.gt_label),
        ('teacher_top1', teacher == samples.gt_label),
        ('agreement', student == teacher),
    ):
        assert losses[name].item() == pytest.approx(100 * sum(hits.tolist()) / 6)
    torch.testing.assert_close(model(images), classification)
    scores = torch.stack([s.pred_score for s in model(images, samples, mode='predict')])
    torch.testing.assert_close(scores, classification.softmax(1))


def test_a_list_of_samples_is_a_batch():
    model = distiller().eval()
    images, samples = batch()
    whole = model(images, samples, mode='loss')
    for name, value in model(images, unfolded(samples), mode='loss').items():
        torch.testing.assert_close(value, whole[name])


def test_own_head_own_loss():
    """Label smoothing, the loss's weight and training accuracy are the head's."""
    loss = dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original', loss_weight=0.5)
    model = distiller(network(loss=loss, cal_acc=True)).eval()
    images, samples = batch()
    losses = model(images, samples, mode='loss')
    smooth = F.cross_entropy(model(images), samples.gt_label, label_smoothing=0.1)
    torch.testing.assert_close(losses['loss_ce'], 0.5 * smooth)
    right = model(images).argmax(1) == samples.gt_label
    torch.testing.assert_close(losses['accuracy_top-1'][0].squeeze(), right.float().mean() * 100)


class TwoBranches(nn.Module):
    """Features as Conformer has them, of convolutions and of tokens."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1)

    def forward(self, images):
        features = self.conv(images).mean((2, 3))
        return ([features, features.relu()],)


def whole_loss(head):
    """A student whose head computes its loss from features, not from logits."""
    if head == 'ArcFaceClsHead':
        student = network()
        student['head']['type'] = head
        return student
    head = dict(type=head, num_classes=10, in_channels=[8, 8], init_cfg=None)
    return dict(type='ImageClassifier', backbone=TwoBranches(), neck=None, head=head)


@pytest.mark.parametrize('head', ['ArcFaceClsHead', 'ConformerHead'])
def test_a_head_whose_loss_is_of_features(head):
    """With ArcFace's margin, of Conformer's two outputs: as mmpretrain trains them."""
    teacher = OnlineTeacher(whole_loss(head), checkpoint=None)
    model = distiller(whole_loss(head), teacher).eval()
    images, samples = batch()
    losses = model(images, samples, mode='loss')
    own = model.student(images, samples, mode='loss')['loss']
    torch.testing.assert_close(losses['loss_ce'], own)
    outputs = model.student(images)
    logits = sum(outputs) if isinstance(outputs, tuple) else outputs
    assert abs(own - F.cross_entropy(logits, samples.gt_label)) > 0.1
    torch.testing.assert_close(model(images), logits)
    expected = DKDLoss(beta=2.0)(logits, teacher(images), samples.gt_label)
    torch.testing.assert_close(losses['dkd.loss_implicit'], expected['loss_implicit'])
    for mine, theirs in zip(*(m(images, samples, mode='predict') for m in (model, model.student))):
        torch.testing.assert_close(mine.pred_score, theirs.pred_score)
    with pytest.raises(ValueError, match=f'head {head} computes its loss .* set connector=None'):
        distiller(whole_loss(head), teacher, connector=dict(type='TaskSerializationFC'))


def test_the_labels_weight_is_the_distillers(tmp_path):
    """It holds whatever loss the student brings, and when the student is a config's name."""
    images, samples = batch()
    tenth = network(loss=dict(type='CrossEntropyLoss', loss_weight=0.1))
    expected = distiller(tenth).eval()(images, samples, mode='loss')['loss_ce']
    own = network(loss=dict(type='CrossEntropyLoss', loss_weight=1.0))
    Config(dict(model=own)).dump(tmp_path / 'student.py')
    for student in (network(), own, str(tmp_path / 'student.py')):
        model = distiller(student, label_weight=0.1).eval()
        # to the bit as where it is the head's
        assert torch.equal(model(images, samples, mode='loss')['loss_ce'], expected)
    with pytest.raises(ValueError, match=r'said twice: label_weight is 0\.1, .* loss_weight=0\.5'):
        distiller(network(loss=dict(type='CrossEntropyLoss', loss_weight=0.5)), label_weight=0.1)
    for wrong in (-1.0, float('nan'), 'all', None):
        with pytest.raises(ValueError, match=f'label_weight must be .* but is {wrong!r}'):
            distiller(label_weight=wrong)


def test_soft_targets():
    model = distiller().eval()
    images, samples = batch()
    other = samples.gt_label.roll(1)
    samples.gt_score = 0.3 * F.one_hot(samples.gt_label, 10) + 0.7 * F.one_hot(other, 10)
    losses = model(images, samples, mode='loss')
    logits = model(images)
    mixed = 0.3 * F.cross_entropy(logits, samples.gt_label) + 0.7 * F.cross_entropy(logits, other)
    torch.testing.assert_close(losses['loss_ce'], mixed)
    expected = DKDLoss(beta=2.0)(logits, model.teacher(images), samples.gt_score)
    torch.testing.assert_close(losses['dkd.loss_implicit'], expected['loss_implicit'])


def test_any_number_of_losses_and_their_weight():
    losses = dict(kd=dict(type='KDLoss', alpha=0.3), dkd=dict(type='DKDLoss'))
    model = distiller(losses=losses).eval()
    images, samples = batch()
    full = model(images, samples, mode='loss')
    model.distill_weight.fill_(0.25)
    quarter = model(images, samples, mode='loss')
    for name, value in full.items():
        distils = 'loss' in name and name != 'loss_ce'
        torch.testing.assert_close(quarter[name], value * (0.25 if distils else 1))
    total, _ = model.parse_losses(full)
    torch.testing.assert_close(total, sum(v for k, v in full.items() if 'loss' in k))


def test_what_hooks_and_layer_decay_ask_a_classifier_for():
    vit = dict(
        type='VisionTransformer',
        arch=dict(embed_dims=8, num_layers=2, num_heads=2, feedforward_channels=8),
        img_size=8,
        patch_size=4,
    )
    head = dict(type='VisionTransformerClsHead', num_classes=5, in_channels=8)
    student = dict(type='ImageClassifier', backbone=vit, head=head)
    losses = dict(kd=dict(type='KDLoss'))
    model = LogitDistiller(student, None, losses, dict(type='TaskSerializationFC'))
    assert model.head is model.student.head
    for name in ('backbone.layers.1.ffn.x', 'backbone.patch_embed.x', 'head.layers.head.weight'):
        assert model.get_layer_depth(f'student.{name}') == model.student.get_layer_depth(name)
    assert model.get_layer_depth('connector.fc.weight') == model.get_layer_depth('student.head.x')
    assert model.student.data_preprocessor.num_classes == 5


def test_the_teacher_is_nobodys_part():
    model = distiller(connector=dict(type='TaskSerializationFC'))
    teacher = model.teacher
    before = copy.deepcopy(teacher.model.state_dict())
    owned = {id(p) for p in model.parameters()}
    assert not owned & {id(p) for p in teacher.parameters()}
    assert {name.split('.')[0] for name in model.state_dict()} == {'student', 'connector'}
    model.init_weights()
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    images, samples = batch()
    for _ in range(3):
        model.train()
        model.train_step(dict(inputs=images, data_samples=unfolded(samples)), optimizer)
    assert not teacher.training
    for name, value in teacher.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert copy.deepcopy(model).teacher is teacher


def test_the_teacher_follows_to_another_device():
    teacher = OnlineTeacher(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), checkpoint=None)
    model = distiller(teacher=teacher)
    model.to(torch.float64)
    assert {p.dtype for p in teacher.parameters()} == {torch.float64}


def test_the_teacher_runs_under_the_same_autocast():
    seen = []
    model = distiller(teacher=lambda images, samples: seen.append(linear(images)) or seen[-1])
    linear = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    images, samples = batch()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = model(images, samples, mode='loss')
    assert seen[0].dtype == torch.bfloat16
    assert losses['dkd.loss_implicit'].dtype == torch.float32


@pytest.mark.parametrize(
    'student',
    [network(), 'mmpretrain::resnet/resnet18_8xb16_cifar10.py', MODELS.build(network())],
    ids=['dict', 'config path', 'module'],
)
def test_ways_to_name_a_student(student):
    model = distiller(student)
    images, samples = batch()
    assert model(images, samples, mode='loss')['loss_ce'].isfinite()
    if isinstance(student, str):  # brings its normalisation along
        mean = torch.tensor([125.307, 122.961, 113.8575])
        torch.testing.assert_close(model.data_preprocessor.mean.flatten(), mean)


def test_config_file_as_student(tmp_path):
    Config(dict(model=network())).dump(tmp_path / 'student.py')
    assert distiller(tmp_path / 'student.py').student.head.num_classes == 10


def test_timm_student():
    pytest.importorskip('timm', reason='timm is not installed')
    model = distiller(dict(type='TimmClassifier', model_name='resnet18', num_classes=10))
    images, samples = batch()
    assert model(images, samples, mode='loss')['loss_ce'].isfinite()
    assert len(model(images, unfolded(samples), mode='predict')) == 6


def test_predicts_without_a_teacher():
    model = LogitDistiller(network(), teacher=None, losses=dict(kd=KDLoss()))
    assert model(batch()[0]).shape == (6, 10)


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        (
            dict(teacher=dict(type='OnlineTeacher', model=network(classes=7), checkpoint=None)),
            ValueError,
            'the teacher has 7 classes, but the student has 10: they must agree',
        ),
        (
            dict(teacher=dict(type='OnlineTeacher', model=network(classes=12), checkpoint=None)),
            ValueError,
            r'the teacher has 12 classes, but the student has 10: classes=\[...\] of the teacher',
        ),
        (
            dict(student={**network(), 'head': several_labels}),
            TypeError,
            'head MultiLabelLinearClsHead gives an image several labels',
        ),
        (
            dict(connector=dict(type='TaskSerializationFC', num_classes=9)),
            ValueError,
            'the connector has 9 classes, but the student has 10',
        ),
        (dict(losses={}), ValueError, 'losses must map names to losses'),
        (dict(losses=dict(type='KDLoss')), ValueError, 'losses must map names to losses'),
        (dict(student=nn.Linear(3, 10)), TypeError, 'must be an mmpretrain classifier.*Linear'),
        (dict(student=7), TypeError, 'a classifier is a config dict.* int: 7'),
        (dict(loses=dict(kd=KDLoss())), TypeError, 'loses'),
    ],
)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        distiller(**options)


def test_wrong_number_of_teacher_logits():
    """Where it can't be seen before: a callable says nothing of its classes."""
    model = distiller(teacher=lambda images, samples: torch.zeros(6, 11))
    with pytest.raises(ValueError, match=r'teacher_logits are \(6, 11\).*student_logits'):
        model(*batch(), mode='loss')


def test_unknown_mode():
    with pytest.raises(ValueError, match=r"mode must be .* but is 'train'"):
        distiller()(*batch(), mode='train')


def test_no_step_waits_for_the_device(monkeypatch):
    """Tensors without content stand for those of a GPU: to look at a value of theirs is an error.

    From uint8 images to gradients, as a training step does it.
    """
    monkeypatch.setattr(torch, 'is_autocast_enabled', lambda _: False)  # knows no such device
    model = distiller(
        connector=dict(type='TaskSerializationFC'),
        losses=dict(aekt=dict(type='AEKTLoss'), kd=dict(type='KDLoss')),
        data_preprocessor=dict(
            type='BatchPreprocessor', mean=[1.0] * 3, std=[2.0] * 3, crop_padding=1, flip=True
        ),
    ).to('meta')
    dataset = ArrayDataset(np.zeros((6, 8, 8, 3), np.uint8), [0, 1, 2, 3, 4, 5], 'abcdefghij')
    data = dataset.__getitems__([ViewKey(0, 0, k) for k in range(6)])
    data = model.data_preprocessor(data, training=True)
    assert data['inputs'].device.type == 'meta'
    loss, logs = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    assert all(parameter.grad.shape == parameter.shape for parameter in model.parameters())
    assert {value.device.type for value in logs.values()} == {'meta'}
