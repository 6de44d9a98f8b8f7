"""Runs that can't be right stop, and say why."""

from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from aekt_mm.engine.launching import build_runner


class Poison(Hook):
    """Put one NaN into student or teacher before an iteration, counted from 1."""

    priority = 'LOWEST'

    def __init__(self, sides, iteration):
        self.sides, self.iteration = sides, iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.iteration:
            models = {'student': runner.model.student, 'teacher': runner.model.teacher.model}
            for side in self.sides:
                with torch.no_grad():
                    next(models[side].head.parameters())[0, 0] = float('nan')


@pytest.mark.parametrize(
    ('sides', 'message'),
    [
        (('student',), "the student's logits are NaN .* training diverged"),
        (('teacher',), "the teacher's logits are NaN .* look at its checkpoint"),
        (('student', 'teacher'), "both the student's and the teacher's logits are NaN"),
    ],
)
def test_nan_is_named_with_side_and_iteration(sides, message, digits_recipe):
    cfg = digits_recipe
    cfg.train_dataloader.batch_size = 300  # 3 iterations an epoch
    runner = build_runner(cfg)
    runner.register_hook(Poison(sides, iteration=5))
    with pytest.raises(FloatingPointError, match=message) as error:
        runner.train()
    assert 'in iteration 5 (epoch 2)' in str(error.value)
    saved = {path.name for path in Path(cfg.work_dir).glob('*.pth')}
    assert saved == {'epoch_1.pth'}  # none with NaN in it


def test_infinite_logits_are_found_too(digits_recipe):
    cfg = digits_recipe
    runner = build_runner(cfg)
    with torch.no_grad():
        runner.model.student.head.fc.bias[0] = float('inf')
    with pytest.raises(FloatingPointError, match="student's logits are NaN or infinite in iter"):
        runner.train()


@pytest.mark.parametrize('distills', [True, False])
def test_more_classes_than_the_model_has(distills, digits_recipe):
    cfg = digits_recipe
    cfg.model.student.head.num_classes = cfg.model.teacher.model.head.num_classes = 9
    cfg.model.teacher.checkpoint = None
    if not distills:
        cfg.model = cfg.model.student
    with pytest.raises(ValueError, match='Digits has 10 classes, but the model tells only 9 apart'):
        build_runner(cfg).train()
    assert not list(Path(cfg.work_dir).glob('*.pth'))


def test_plain_classifiers_pass(digits_recipe):
    cfg = digits_recipe
    cfg.model = cfg.model.student
    cfg.train_dataloader.batch_size = 898
    build_runner(cfg).train()
    assert Path(cfg.work_dir, 'epoch_2.pth').exists()


def test_a_curriculum_that_nothing_tells_the_epoch(digits_recipe):
    cfg = digits_recipe
    cfg.model.losses.aekt.temperature = dict(type='CurriculumTemperature', epochs=4)
    cfg.custom_hooks = []
    with pytest.raises(ValueError, match=r'CurriculumTemperature follows .*LossEpochHook'):
        build_runner(cfg).train()

    cfg.custom_hooks = [dict(type='LossEpochHook')]
    cfg.experiment_name += '_told'
    cfg.train_dataloader.batch_size = 898
    runner = build_runner(cfg)
    runner.train()
    assert runner.model.losses.aekt.temperature.strength.item() == pytest.approx(0.5)
    assert runner.message_hub.get_scalar('train/aekt.temperature').current() > 1
