"""A terminal sees how far a training is; a log file has every line, with or without one."""

import io
import sys
from pathlib import Path

import pytest
from mmengine.logging import MMLogger

from aekt_mm.engine.hooks import ProgressHook, progress_hook
from aekt_mm.engine.launching import build_runner

pytestmark = pytest.mark.stack


class Screen(io.StringIO):
    """What a terminal is sent."""

    def isatty(self):
        return True


@pytest.fixture
def every_step(monkeypatch):
    monkeypatch.setattr(progress_hook, 'INTERVAL', 0.0)
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setenv('COLUMNS', '160')


def train(cfg):
    cfg.default_hooks.logger.interval = 10
    runner = build_runner(cfg)
    runner.register_hook(ProgressHook())
    runner.train()
    return runner


def logged(cfg):
    (log,) = Path(cfg.work_dir).glob('*/*.log')
    return [line for line in log.read_text().splitlines() if 'Epoch(train)' in line]


def test_a_terminal(digits_recipe, every_step, monkeypatch):
    screen = Screen()
    monkeypatch.setattr(sys, 'stdout', screen)
    runner = train(digits_recipe)
    assert sys.stdout is screen  # as before
    shown = screen.getvalue()
    assert shown.count('epoch 1/2') >= 28
    assert '29/29' in shown
    assert 'images/s' in shown
    assert ' left' in shown
    # the figures of the last step are the means that MMEngine logs
    last = shown[shown.rindex('epoch 2/2') :]
    for name, called in (('loss_ce', 'ce'), ('aekt.loss_explicit', 'explicit')):
        mean = runner.message_hub.get_scalar(f'train/{name}').mean(100)
        assert f'{called} {mean:.3f}' in last
    weight = runner.message_hub.get_scalar('train/aekt.applied_weight').mean(100)
    assert f'weight {weight:.2f}' in last
    assert 'Epoch(train)' not in shown
    assert 'Epoch(val) [2][1/1]' in shown  # printed above the display
    assert len(logged(digits_recipe)) == 4
    for handler in MMLogger.get_current_instance().handlers:
        assert progress_hook._is_no_line not in handler.filters


def test_no_terminal(digits_recipe, every_step, capfd):
    train(digits_recipe)
    out = capfd.readouterr().out
    assert '━' not in out
    assert '\x1b[?25l' not in out
    assert out.count('Epoch(train)') == 4 == len(logged(digits_recipe))


def test_an_error_gives_the_terminal_back(digits_recipe, every_step, monkeypatch):
    screen, ends = Screen(), []
    monkeypatch.setattr(sys, 'stdout', screen)
    monkeypatch.setattr(progress_hook.atexit, 'register', ends.append)
    runner = build_runner(digits_recipe)
    runner.register_hook(ProgressHook())
    step, steps = runner.model.train_step, []

    def failing(*arguments, **options):
        steps.append(None)
        if len(steps) == 5:
            raise FloatingPointError('NaN')
        return step(*arguments, **options)

    monkeypatch.setattr(runner.model, 'train_step', failing)
    with pytest.raises(FloatingPointError):
        runner.train()
    assert screen.getvalue().count('\x1b[?25l') == 1  # the cursor is hidden
    for end in ends:  # as when the process ends
        end()
    assert sys.stdout is screen
    assert '\x1b[?25h' in screen.getvalue()
