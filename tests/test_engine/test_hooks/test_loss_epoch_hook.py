"""Losses that follow a curriculum know the epoch."""

from types import SimpleNamespace

import pytest
from mmengine.runner import IterBasedTrainLoop
from torch import nn

from aekt_mm.engine.hooks import LossEpochHook
from aekt_mm.models import CurriculumTemperature, KDLoss

pytestmark = pytest.mark.stack


def runner(model, epoch, max_epochs=240):
    return SimpleNamespace(model=model, epoch=epoch, max_epochs=max_epochs, train_loop=None)


def test_tells_every_part_of_a_loss_that_asks():
    model = nn.Module()
    model.losses = nn.ModuleDict(dict(kd=KDLoss(temperature=CurriculumTemperature())))
    hook = LossEpochHook()
    hook.before_train_epoch(runner(model, epoch=4))
    assert model.losses.kd.temperature.strength.item() == pytest.approx(0.5)
    hook.before_train_epoch(runner(model, epoch=20))
    assert model.losses.kd.temperature.strength.item() == 1.0


@pytest.mark.parametrize(
    ('options', 'max_epochs', 'length'), [({}, 120, 5), ({}, 8, 1), (dict(epochs=4), 8, 4)]
)
def test_a_curriculum_is_a_share_of_the_run(options, max_epochs, length):
    model = nn.Module()
    model.losses = nn.ModuleDict(dict(kd=KDLoss(temperature=CurriculumTemperature(**options))))
    strengths = []
    for epoch in range(length):
        LossEpochHook().before_train_epoch(runner(model, epoch, max_epochs))
        strengths.append(model.losses.kd.temperature.strength.item())
    assert strengths.index(1.0) == length - 1


@pytest.mark.parametrize('options', [dict(share=0), dict(share=1.1), dict(epochs=0)])
def test_a_curriculum_out_of_range(options):
    with pytest.raises(ValueError, match=f'{next(iter(options))} must be .*at'):
        CurriculumTemperature(**options)


@pytest.mark.parametrize('first', [0, 4])
def test_by_iterations_an_epoch_is_a_pass_over_the_images(first):
    """From the start and after a resume; with two and two thirds of a pass."""
    model = nn.Module()
    model.losses = nn.ModuleDict(dict(kd=KDLoss(temperature=CurriculumTemperature(share=0.7))))
    loop = IterBasedTrainLoop.__new__(IterBasedTrainLoop)
    run = SimpleNamespace(
        model=model, train_loop=loop, train_dataloader=range(3), max_iters=8, iter=first
    )
    hook, strengths = LossEpochHook(), []
    hook.before_train_epoch(run)
    for run.iter in range(first, 8):
        hook.before_train_iter(run, run.iter)
        strengths.append(model.losses.kd.temperature.strength.item())
    assert strengths == pytest.approx(([0.5] * 3 + [1.0] * 5)[first:])


def test_a_model_without_losses_is_refused():
    with pytest.raises(TypeError, match=r'LossEpochHook tells losses .* but the model is Linear'):
        LossEpochHook().before_train_epoch(runner(nn.Linear(2, 2), epoch=0))
