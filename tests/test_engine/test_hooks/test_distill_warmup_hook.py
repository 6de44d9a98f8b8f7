"""The weight of distillation in each epoch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from aekt_mm.engine import DistillWarmupHook
from aekt_mm.engine.launching import build_runner


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


@given(st.one_of(st.integers(max_value=0), st.floats(), st.text(), st.none()))
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
