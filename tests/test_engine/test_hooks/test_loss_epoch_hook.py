"""Losses that follow a curriculum know the epoch."""

from types import SimpleNamespace

import pytest
from torch import nn

from aekt_mm.engine.hooks import LossEpochHook
from aekt_mm.models import CurriculumTemperature, KDLoss


def runner(model, epoch):
    return SimpleNamespace(model=model, epoch=epoch)


def test_tells_every_part_of_a_loss_that_asks():
    model = nn.Module()
    model.losses = nn.ModuleDict(dict(kd=KDLoss(temperature=CurriculumTemperature(epochs=10))))
    hook = LossEpochHook()
    hook.before_train_epoch(runner(model, epoch=4))
    assert model.losses.kd.temperature.strength.item() == pytest.approx(0.5)
    hook.before_train_epoch(runner(model, epoch=20))
    assert model.losses.kd.temperature.strength.item() == 1.0


def test_a_model_without_losses_is_refused():
    with pytest.raises(TypeError, match=r'LossEpochHook tells losses .* but the model is Linear'):
        LossEpochHook().before_train_epoch(runner(nn.Linear(2, 2), epoch=0))
