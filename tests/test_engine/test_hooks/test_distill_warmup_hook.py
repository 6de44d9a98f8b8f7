"""The weight of distillation in each epoch."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from aekt_mm.engine import DistillWarmupHook
from aekt_mm.engine.launching import build_runner

pytestmark = pytest.mark.stack


class Weights(Hook):
    """Note the weight after each iteration."""

    def __init__(self):
        self.seen = {}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.setdefault(runner.epoch, []).append(runner.model.distill_weight.item())


def train(cfg):
    runner = build_runner(cfg)
    weights = Weights()
    runner.register_hook(weights)
    runner.train()
    return weights.seen


def test_values_per_epoch_and_after_a_resume(digits_recipe):
    cfg = digits_recipe
    cfg.train_dataloader.batch_size = 300
    cfg.train_cfg.max_epochs = cfg.train_cfg.val_interval = cfg.param_scheduler.total_steps = 4
    cfg.default_hooks.checkpoint.max_keep_ckpts = 4
    cfg.custom_hooks = [dict(type='DistillWarmupHook', epochs=3)]
    seen = train(cfg.copy())
    for epoch, expected in enumerate((1 / 3, 2 / 3, 1, 1)):
        assert seen[epoch] == pytest.approx([expected] * 3)

    cfg.resume, cfg.load_from = True, f'{cfg.work_dir}/epoch_1.pth'
    assert train(cfg) == {epoch: seen[epoch] for epoch in (1, 2, 3)}


def test_the_logged_losses_are_weighted(digits_recipe):
    cfg = digits_recipe
    cfg.train_dataloader.batch_size = 898
    cfg.train_cfg.max_epochs = 1
    losses = []
    for hooks in ([], [dict(type='DistillWarmupHook', epochs=4)]):
        cfg.custom_hooks = hooks
        cfg.experiment_name += f'_{len(hooks)}'
        runner = build_runner(cfg.copy())
        runner.train()
        losses.append(_first_scalars(runner))
    plain, warm = losses
    for name, value in plain.items():
        distillation = 'aekt.loss' in name
        assert warm[name] == pytest.approx(value / 4 if distillation else value, rel=1e-5), name
    assert sum('aekt.loss' in name for name in plain) == 2


def _first_scalars(runner: Runner) -> dict:
    scalars = runner.message_hub.log_scalars
    return {
        name: scalars[f'train/{name}'].data[0][0]
        for name in ('loss_ce', 'aekt.loss_explicit', 'aekt.loss_implicit', 'aekt.confidence_ratio')
    }


@given(
    st.integers(1, 1000), st.floats(0, 1, exclude_min=True), st.integers(1, 2000), st.integers(1, 9)
)
def test_a_share_is_of_the_run(epochs, share, longer, times):
    def length(share, epochs):
        return DistillWarmupHook(share=share).warmup_epochs(SimpleNamespace(max_epochs=epochs))

    assert length(share, epochs) == pytest.approx(max(1, share * epochs), abs=1)
    assert 1 <= length(share, epochs) <= epochs
    assert length(share, epochs) <= length(share, epochs + longer)
    assert length(1 / 12, 12 * times) == times
    assert length(0.08333333333333333, 240) == 20


def test_a_warmup_beyond_the_run_is_a_warning(digits_recipe):
    digits_recipe.train_dataloader.batch_size = 898
    digits_recipe.custom_hooks = [dict(type='DistillWarmupHook', epochs=20)]
    for part in ('val_cfg', 'val_dataloader', 'val_evaluator'):
        digits_recipe[part] = None
    digits_recipe.default_hooks.checkpoint.interval = 5
    runner = build_runner(digits_recipe)
    runner.train()
    (log,) = Path(digits_recipe.work_dir).glob('*/*.log')
    text = 'after 2 epochs the distillation losses will have 2/20 of their weight'
    assert f'WARNING - The warm-up is longer than the run: {text}' in log.read_text()
    assert runner.model.distill_weight.item() == pytest.approx(2 / 20)


@pytest.mark.parametrize('options', [dict(), dict(epochs=3, share=0.5)])
def test_epochs_or_a_share(options):
    with pytest.raises(ValueError, match='either epochs or share must be set, but are'):
        DistillWarmupHook(**options)


@pytest.mark.parametrize('share', [0, -0.1, 1.5, float('nan'), '0.1'])
def test_other_shares_are_refused(share):
    with pytest.raises(ValueError, match='share must be above 0 and at most 1'):
        DistillWarmupHook(share=share)


@given(st.one_of(st.integers(max_value=0), st.floats(), st.text()))
def test_other_lengths_are_refused(epochs):
    with pytest.raises(ValueError, match='epochs must be a whole number of at least 1'):
        DistillWarmupHook(epochs)


def test_needs_epochs_and_a_distiller(digits_recipe):
    hooks = [dict(type='DistillWarmupHook', epochs=3)]
    cfg = digits_recipe
    cfg.custom_hooks = hooks
    cfg.default_hooks.checkpoint.by_epoch = False
    by_iteration = dict(by_epoch=False, max_iters=2, val_interval=2)
    cfg.param_scheduler = None
    with pytest.raises(TypeError, match=r'needs train_cfg=dict\(by_epoch=True\)'):
        build_runner(Config({**cfg.copy(), 'train_cfg': by_iteration})).train()

    cfg.model = cfg.model.student
    with pytest.raises(TypeError, match='but the model is ImageClassifier'):
        build_runner(cfg).train()
