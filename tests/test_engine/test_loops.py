import copy
from contextlib import nullcontext
from unittest import mock

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from torch.utils._python_dispatch import TorchDispatchMode

from aekt_mm.analysis.benchmarks import LOSSES
from aekt_mm.engine import captured_step
from aekt_mm.engine.captured_step import CapturedStep
from aekt_mm.engine.hooks import figures_hook
from aekt_mm.engine.launching import build_runner
from aekt_mm.engine.loops import WholeBatchValLoop
from aekt_mm.engine.mixed_precision import use_mixed_precision
from aekt_mm.models.teachers import CachedTeacher

pytestmark = pytest.mark.stack

#: What waits for the device: a number that is read, the places of true elements.
WAITING = ('_local_scalar_dense', 'nonzero', 'is_nonzero', 'masked_select', 'unique')


class Waits(TorchDispatchMode):
    """Note in which steps something is called that would wait for a GPU."""

    def __init__(self):
        super().__init__()
        self.step, self.found = None, []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if self.step is not None and name in WAITING:
            self.found.append((self.step, name))
        return function(*args, **(kwargs or {}))


class Steps(Hook):
    """Tell which step runs, between two readings of the figures."""

    priority = 'HIGHEST'

    def __init__(self, waits):
        self.waits = waits

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        last = batch_idx + 1 == len(runner.train_dataloader)
        self.waits.step = None if last else runner.iter

    def after_train_epoch(self, runner):
        self.waits.step = None


def losses_of(method):
    return {method: copy.deepcopy(LOSSES[method])}


CASES = {
    **{method: dict(losses=losses_of(method)) for method in LOSSES},
    'clipped, bfloat16': dict(amp=True, clip=True),
    'cached': dict(cached='float32', clip=True),
    'cached, topk': dict(cached='topk'),
    'fitnet': dict(features='FitNetLoss'),
    'crd': dict(features='CRDLoss'),
}


@pytest.mark.parametrize('case', CASES)
def test_no_step_reads_from_the_device(digits_recipe, tmp_path, case, tool):
    cfg, options = digits_recipe, CASES[case]
    cfg.train_cfg.max_epochs = 1
    cfg.train_dataloader.batch_size = 100
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if 'losses' in options:
        cfg.model.losses, cfg.model.connector = Config(options['losses'])._cfg_dict, None
        cfg.custom_hooks = [dict(type='LossEpochHook')]
    if options.get('amp'):
        use_mixed_precision(cfg)
    if not options.get('clip'):
        cfg.optim_wrapper.pop('clip_grad')
    if 'features' in options:
        layer = 'backbone.layer3' if options['features'] == 'FitNetLoss' else 'neck'
        loss = dict(type=options['features'])
        loss |= dict(num_samples=898, negatives=64) if options['features'] == 'CRDLoss' else {}
        cfg.model.features = dict(feature=dict(student=layer, teacher=layer, loss=loss))
    if 'cached' in options:
        cfg.dump(tmp_path / 'config.py')
        arguments = ('--views', 1, '--format', options['cached'], '--k', 3)
        said = tool(
            'tools/cache_teacher.py', tmp_path / 'config.py', tmp_path / 'cache', *arguments
        )
        assert said is None
        cfg.model.teacher = dict(type='CachedTeacher', cache=str(tmp_path / 'cache'))
    waits = Waits()
    runner = build_runner(cfg)
    runner.register_hook(Steps(waits))
    with waits:
        runner.train()
    assert waits.found == []
    assert len(runner.message_hub.get_scalar('train/loss').data[0]) == 9


def test_the_figures_are_those_of_every_step(digits_recipe):
    """MMEngine's own hook, which reads after each step, gives the message hub the same numbers."""
    hubs = []
    for kind in ('RuntimeInfoHook', 'aekt_mm.FiguresHook'):
        cfg = copy.deepcopy(digits_recipe)
        cfg.work_dir, cfg.experiment_name = (
            f'{cfg.work_dir}_{kind}',
            f'{kind}_{cfg.experiment_name}',
        )
        cfg.default_hooks.runtime_info = dict(type=kind)
        runner = build_runner(cfg)
        runner.train()
        hubs.append(runner.message_hub)
    histories = [
        {name: history.data for name, history in hub.log_scalars.items() if 'time' not in name}
        for hub in hubs
    ]
    assert histories[0].keys() == histories[1].keys()
    for name, (values, counts) in histories[0].items():
        np.testing.assert_array_equal(histories[1][name][0], values, err_msg=name)
        np.testing.assert_array_equal(histories[1][name][1], counts, err_msg=name)


def test_the_message_hub_remembers_an_epoch(digits_recipe, monkeypatch):
    monkeypatch.setattr(figures_hook, 'HISTORY', 10)
    digits_recipe.log_processor.window_size = 20
    runner = build_runner(digits_recipe)
    runner.train()
    histories = runner.message_hub.log_scalars
    assert len(histories['train/loss'].data[0]) == 29  # of two epochs of 29
    digits_recipe.log_processor.custom_cfg = [
        dict(data_src='loss', log_name='all', method_name='mean', window_size='global')
    ]
    digits_recipe.experiment_name += '_global'
    runner = build_runner(digits_recipe)
    runner.train()
    assert len(runner.message_hub.log_scalars['train/loss'].data[0]) == 58


def test_validation_is_mmengines(digits_recipe, monkeypatch):
    runner = build_runner(digits_recipe)
    runner.train()
    ours = runner.val_loop.run()
    monkeypatch.setattr('aekt_mm.engine.loops._predicts_plainly', lambda model: False)
    assert runner.val_loop.run() == ours
    assert isinstance(runner.val_loop, WholeBatchValLoop)
    assert 0 < ours['accuracy/top1'] < 100


def test_a_step_is_captured_only_on_a_gpu(digits_recipe):
    model = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match='a captured step needs a GPU: train without --capture'):
        CapturedStep(model, None)
    digits_recipe.train_cfg.capture = True
    with pytest.raises(ValueError, match='a captured step needs a GPU'):
        build_runner(digits_recipe).train()


class ReplayedGraph:
    """A CUDA graph's stand-in where there is no GPU: a replay runs the step again."""

    def replay(self):
        step = self.step
        # a graph reads a teacher's logits from where they were written before it
        with step._rates_on_device(), mock.patch.object(CachedTeacher, 'prepare'):
            figures = step.take()
        step.optim_wrapper._inner_count -= 1  # which the caller counts
        step.figures = torch.stack([value.detach().float() for value in figures.values()])


@pytest.fixture
def replayed(monkeypatch):
    """Let a step be captured without a GPU. What is replayed reads the graph's own batch."""

    class Stream:
        def wait_stream(self, other):
            pass

    monkeypatch.setattr(torch.cuda, 'Stream', Stream)
    monkeypatch.setattr(torch.cuda, 'current_stream', Stream)
    monkeypatch.setattr(torch.cuda, 'stream', lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, 'CUDAGraph', ReplayedGraph)
    monkeypatch.setattr(captured_step, '_check', lambda *parts: None)
    captures = []

    def capture(graph, stream=None):
        captures.append(graph)
        return nullcontext()

    monkeypatch.setattr(torch.cuda, 'graph', capture)
    original = CapturedStep._capture

    def without_effect(self, data):
        model, optimizer = copy.deepcopy((self.model.state_dict(), self.optim_wrapper.state_dict()))
        original(self, data)
        self.model.load_state_dict(model)  # to capture computes nothing
        self.optim_wrapper.load_state_dict(optimizer)
        self.graph.step = self
        self.take = lambda: captured_step.take_step(self.model, self.optim_wrapper, self.batch)

    monkeypatch.setattr(CapturedStep, '_capture', without_effect)
    return captures


@pytest.mark.parametrize('cached', [False, True])
def test_a_replayed_step_gets_batch_view_and_learning_rate(
    digits_recipe, replayed, cached, tmp_path, tool
):
    if cached:
        digits_recipe.dump(tmp_path / 'config.py')
        arguments = ('--views', 2, '--format', 'float32')
        tool('tools/cache_teacher.py', tmp_path / 'config.py', tmp_path / 'cache', *arguments)
        digits_recipe.model.teacher = dict(type='CachedTeacher', cache=str(tmp_path / 'cache'))
    weights = []
    for capture in (False, True):
        cfg = copy.deepcopy(digits_recipe)
        cfg.work_dir, cfg.experiment_name = (
            f'{cfg.work_dir}_{capture}',
            f'{tmp_path.name}_{capture}',
        )
        cfg.train_cfg.capture = capture
        cfg.optim_wrapper.optimizer.fused = True
        runner = build_runner(cfg)
        runner.train()
        weights.append(runner.model.state_dict())
    assert len(replayed) == 1
    assert all(torch.equal(weights[1][name], value) for name, value in weights[0].items())


def test_what_follows_the_epochs_is_captured_anew(digits_recipe, replayed):
    temperature = dict(type='CurriculumTemperature')
    digits_recipe.model.losses = dict(kd=dict(type='KDLoss', temperature=temperature))
    digits_recipe.model.connector = None
    digits_recipe.custom_hooks = [dict(type='LossEpochHook')]
    digits_recipe.train_cfg.capture = True
    build_runner(digits_recipe).train()
    assert len(replayed) == 2
