"""A run that has learned nothing says so."""

import math
from types import SimpleNamespace

import pytest
from mmengine.logging import HistoryBuffer

from aekt_mm.engine.hooks import ChanceHook, chance_hook
from aekt_mm.models.classifiers import build_classifier

pytestmark = pytest.mark.stack


@pytest.fixture
def said(monkeypatch):
    messages = []
    monkeypatch.setattr(chance_hook, 'print_log', lambda text, *_, **__: messages.append(text))
    return messages


@pytest.fixture(scope='module')
def model():
    head = dict(type='LinearClsHead', num_classes=10, in_channels=64)
    neck = dict(type='GlobalAveragePooling')
    backbone = dict(type='CIFARResNet', depth=8)
    return build_classifier(dict(type='ImageClassifier', backbone=backbone, neck=neck, head=head))[
        0
    ]


def runner(model, step, images=900, **figures):
    scalars = {f'train/{name}': HistoryBuffer([value], [1]) for name, value in figures.items()}
    return SimpleNamespace(
        model=model,
        iter=step,
        max_iters=30,
        message_hub=SimpleNamespace(log_scalars=scalars),
        train_dataloader=SimpleNamespace(batch_size=9),
        val_dataloader=SimpleNamespace(dataset=range(images)),
    )


@pytest.mark.parametrize(
    ('figures', 'told'),
    [
        (dict(student_top1=12.9, loss=0.2), 'in training on 12.9 %'),
        (dict(loss=math.log(10)), 'its loss is 2.30, and that of guessing 2.30'),
    ],
)
def test_a_student_that_guesses_is_warned_of(figures, told, said, model):
    """After the first validation and the last, of three."""
    hook = ChanceHook()
    for step in (10, 20, 30):
        metrics = {'accuracy/top1': 12.9, 'accuracy/top5': 50.0}
        hook.after_val_epoch(runner(model, step, **figures), metrics)
    assert [text.split(' the student')[0] for text in said] == [
        'After iteration 10',
        'After iteration 30',
    ]
    wanted = f'right on 12.9 % of the validation images, and chance is 10.0 %; {told}. Look at'
    assert wanted in said[0]


@pytest.mark.parametrize(
    ('metrics', 'images', 'figures'),
    [
        ({'accuracy/top1': 13.1}, 900, dict(loss=2.4)),
        ({'accuracy/top1': 10.4}, 90_000, dict(loss=2.4)),  # more than chance, of so many
        ({'accuracy/top1': 10.0}, 900, dict(loss=2.2)),  # it learns: a moving average is behind
        ({'accuracy/top1': 10.0}, 900, dict(loss=2.4, student_top1=13.1)),
        ({'accuracy/top1': 10.0}, 900, {}),
        ({'other': 10.0}, 900, dict(loss=2.4)),
        ({}, 900, dict(loss=2.4)),
    ],
)
def test_others_are_not(metrics, images, figures, said, model):
    ChanceHook().after_val_epoch(runner(model, 10, images, **figures), metrics)
    assert not said
