"""A student's batch augmentations hold whatever stands in its preprocessor's place."""

from pathlib import Path

import mmpretrain
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.structures import DataSample

from aekt_mm.models import LogitDistiller
from aekt_mm.models.data_preprocessors import BatchPreprocessor, ViewPreprocessor
from aekt_mm.models.distillers import student_inputs
from aekt_mm.models.teachers.identity import plain as settings
from aekt_mm.structures import BatchSample, batch_target, view_keys

pytestmark = pytest.mark.stack

PIXELS = dict(mean=[120.0, 110.0, 100.0], std=[60.0, 60.0, 60.0])
MIXUP = dict(augments=[dict(type='Mixup', alpha=0.8)], probs=[1.0])


def student(train_cfg=MIXUP, **options):
    if train_cfg is not None:
        train_cfg = dict(train_cfg, probs=list(train_cfg['probs']))  # mmpretrain appends to it
    return dict(
        type='ImageClassifier',
        backbone=dict(type='CIFARResNet', depth=8, stage_channels=(8, 8, 8, 8)),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=10, in_channels=8),
        train_cfg=train_cfg,
        **options,
    )


def distiller(of, **options):
    torch.manual_seed(0)
    kd = dict(kd=dict(type='KDLoss'))
    return LogitDistiller(of, lambda images, _: images.flatten(1)[:, :10], kd, **options)


def step(model, classes=10):
    """The losses of a training step, and its targets."""
    torch.manual_seed(0)
    np.random.seed(0)
    labels = torch.arange(6) % classes
    images = torch.randint(256, (6, 8, 8, 3), dtype=torch.uint8)
    samples = BatchSample(gt_label=labels, view_key=view_keys(0, 0, torch.arange(6)))
    if type(model.data_preprocessor) is ClsDataPreprocessor:
        images = images.permute(0, 3, 1, 2)
        samples = [DataSample().set_gt_label(label) for label in labels]
    data = model.data_preprocessor(dict(inputs=images, data_samples=samples), training=True)
    losses = model(**data, mode='loss')
    return {name: value.item() for name, value in losses.items()}, batch_target(
        data['data_samples']
    )


@pytest.mark.parametrize('kind', ['ClsDataPreprocessor', 'ViewPreprocessor', 'BatchPreprocessor'])
def test_another_preprocessor_mixes_as_the_student_asks(kind):
    losses, target = step(distiller(student(), data_preprocessor=dict(type=kind, **PIXELS)))
    plain, labels = step(distiller(student(None), data_preprocessor=dict(type=kind, **PIXELS)))
    assert labels.shape == (6,)
    assert target.shape == (6, 10)
    assert ((target > 0.01).sum(1) == 2).any()  # mixed
    assert losses['loss_ce'] != plain['loss_ce']
    assert losses['kd.loss'] != plain['kd.loss']
    own = dict(type=kind, **PIXELS, batch_augments=MIXUP, num_classes=10)
    own['batch_augments'] = dict(MIXUP, probs=[1.0])
    named, carried = distiller(student(None), data_preprocessor=own), dict(type=kind, **PIXELS)
    assert step(named)[0] == losses
    # and to a teacher's cache it is the same
    carried = distiller(student(), data_preprocessor=carried)
    assert settings(carried.data_preprocessor) == settings(named.data_preprocessor)


@pytest.mark.parametrize('own', [None, PIXELS, dict(PIXELS, num_classes=10)])
def test_the_students_own(own):
    model = distiller(student(data_preprocessor=None if own is None else dict(own)))
    assert type(model.data_preprocessor) is ClsDataPreprocessor
    _, target = step(model)
    assert target.shape == (6, 10)
    assert model.data_preprocessor.batch_augments.probs == [1.0, 0.0]


@pytest.mark.parametrize('config', ['deit/deit-tiny_4xb256_in1k.py'])
def test_readmes_snippet(config):
    """The data preprocessor is the config's, the student is the same config by name."""
    path = Path(mmpretrain.__file__).parent / '.mim/configs' / config
    top = Config.fromfile(path).data_preprocessor
    model = distiller(f'mmpretrain::{config}', data_preprocessor=top)
    mixing = model.data_preprocessor.batch_augments
    assert [type(augment).__name__ for augment in mixing.augments if augment] == ['Mixup', 'CutMix']
    off = {**top, 'batch_augments': None}
    assert (
        distiller(f'mmpretrain::{config}', data_preprocessor=off).data_preprocessor.to_onehot
        is False
    )


def test_what_is_named_holds_and_is_said():
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(student_inputs, 'print_log', lambda text, *_, **__: said.append(text))
        off = dict(PIXELS, batch_augments=None)
        model = distiller(student(data_preprocessor=dict(PIXELS)), data_preprocessor=off)
        assert model.data_preprocessor.batch_augments is None
        other = dict(PIXELS, mean=[0.0, 0.0, 0.0])
        distiller(student(None, data_preprocessor=dict(PIXELS)), data_preprocessor=other)
    assert said == [
        "The student's own batch augmentations (train_cfg.augments) are not used: "
        'data_preprocessor.batch_augments is None',
        "The student's own data_preprocessor (mean [120.0, 110.0, 100.0]) is not used: the run's "
        'stands in its place (mean [0.0, 0.0, 0.0])',
    ]


def test_other_classes_are_refused():
    for named in (dict(), dict(batch_augments=dict(MIXUP, probs=[1.0]))):
        given = dict(type='ViewPreprocessor', num_classes=1000, **PIXELS, **named)
        with pytest.raises(ValueError, match='num_classes is 1000, but the student has 10 classes'):
            distiller(student(), data_preprocessor=given)


def test_a_preprocessor_that_can_not_mix_is_refused():
    with pytest.raises(ValueError, match=r'is ImgDataPreprocessor, which can.t: take Cls'):
        distiller(student(), data_preprocessor=dict(type='mmengine.ImgDataPreprocessor'))
    with pytest.raises(ValueError, match='set its batch_augments, or'):
        distiller(student(), data_preprocessor=BatchPreprocessor(**PIXELS))
    built = ViewPreprocessor(**PIXELS, num_classes=10, batch_augments=dict(MIXUP, probs=[1.0]))
    assert distiller(student(), data_preprocessor=built).data_preprocessor is built
