"""Whether it is the same run that goes on."""

import copy

import pytest
import torch
from mmengine.config import Config

from aekt_mm.engine import resuming
from aekt_mm.engine.checkpoints import RUN_STATE
from aekt_mm.engine.launching import build_runner, override, resume_point
from aekt_mm.engine.resuming import check_same_run

pytestmark = pytest.mark.stack


@pytest.fixture(scope='module')
def said():
    """What is said of a difference."""
    with pytest.MonkeyPatch.context() as patch:
        lines = []
        patch.setattr(resuming, 'print_log', lambda text, *_, **__: lines.append(text))
        yield lines


@pytest.fixture
def resume(digits_recipe, said):
    """Resume the digits recipe for two epochs with other options, or schedules."""
    said.clear()

    def resume(options, schedule=None):
        digits_recipe.param_scheduler = schedule or digits_recipe.param_scheduler
        ran = copy.deepcopy(digits_recipe)
        del ran.train_cfg.by_epoch
        ran.train_cfg.update(type='ResumableEpochLoop', _scope_='aekt_mm')  # as a runner writes it
        override(digits_recipe, options)
        check_same_run(digits_recipe, {'cfg': ran.pretty_text}, 'epoch_2.pth')
        return '\n'.join(said)

    return resume


@pytest.mark.parametrize(
    ('options', 'schedule', 'refused'),
    [
        (
            {'train_cfg.max_epochs': 4},
            None,
            'param_scheduler.end was 2 and is 4\nparam_scheduler.total_steps was 2 and is 4\n',
        ),
        (
            {'train_cfg.max_epochs': 4},
            [dict(type='CosineAnnealingLR', by_epoch=True, convert_to_iter_based=True)],
            'param_scheduler.0.end was 2 and is 4\n',
        ),
        (
            {'optim_wrapper.optimizer.weight_decay': 0.1, 'randomness.seed': 3},
            None,
            'optim_wrapper.optimizer.weight_decay was 0.0005 and is 0.1\n'
            'randomness.seed was 0 and is 3\n',
        ),
        ({'param_scheduler': []}, None, "param_scheduler.type was 'OneCycleLR' and is None\n"),
        ({'optim_wrapper.paramwise_cfg': dict(norm_decay_mult=0.0)}, None, 'paramwise_cfg'),
    ],
)
def test_what_the_checkpoint_has_is_not_set_anew(options, schedule, refused, resume):
    """A run of OneCycleLR that was made longer so went on at a rate of 2e-7."""
    with pytest.raises(ValueError) as error:
        resume(options, schedule)
    assert refused in str(error.value)
    assert str(error.value).endswith('--cfg-options load_from=epoch_2.pth')


def test_a_schedule_that_does_not_end_with_the_run_lets_it_be_longer(resume):
    steps = dict(type='MultiStepLR', by_epoch=True, milestones=[1])
    assert 'train_cfg.max_epochs was 2 and is 4' in resume({'train_cfg.max_epochs': 4}, steps)


def test_other_differences_are_said(resume):
    said = resume(
        {
            'model.losses.aekt.beta': 3.0,
            'train_dataloader.batch_size': 16,
            'train_dataloader.num_workers': 2,
            'train_cfg.val_interval': 1,
            'default_hooks.logger.interval': 7,
        }
    )
    assert said.splitlines()[1:] == [
        'model.losses.aekt.beta was 0.5 and is 3.0',
        'train_dataloader.batch_size was 32 and is 16',
    ]


def test_the_same_run_is_resumed_without_a_word(digits_recipe, said):
    said.clear()
    runner = build_runner(copy.deepcopy(digits_recipe))
    check_same_run(digits_recipe, {'cfg': runner.cfg.pretty_text}, 'epoch_2.pth')
    assert said == []
    check_same_run(Config({'model': {}}), {'cfg': 'import os'}, 'epoch_2.pth')
    assert said == ['epoch_2.pth does not say how its run was set: not compared']


def test_it_is_compared_before_a_runner_is_built(digits_recipe, tmp_path):
    checkpoint = {**dict.fromkeys(RUN_STATE), 'meta': {'cfg': digits_recipe.pretty_text}}
    torch.save(checkpoint, tmp_path / 'epoch_1.pth')
    resume_point(digits_recipe, str(tmp_path / 'epoch_1.pth'))
    digits_recipe.optim_wrapper.optimizer.momentum = 0.5
    digits_recipe.update(resume=True, load_from=str(tmp_path / 'epoch_1.pth'))
    with pytest.raises(ValueError, match=r'momentum was 0\.9 and is 0\.5'):
        resume_point(digits_recipe, None)
