"""How far a training is, on a terminal."""

import atexit
import datetime
import logging
import re
import sys
import time
from collections import deque
from collections.abc import Sequence

from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import EpochBasedTrainLoop, Runner
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from aekt_mm.registry import HOOKS

#: Over how many steps figures are averaged.
WINDOW = 100

#: Seconds between two drawings.
INTERVAL = 0.5

#: What is shown beside the loss and its parts, with what it is called.
STATISTICS = {
    'applied_weight': 'weight',
    'confidence_ratio': 'ratio',
    'student_top1': 'student %',
    'teacher_top1': 'teacher %',
    'agreement': 'agreement %',
}

#: The lines of MMEngine that the display takes the place of.
_LINES = re.compile(r'\s*(Epoch|Iter)\(train\)')


@HOOKS.register_module()
class ProgressHook(Hook):
    """Show epoch, speed, time left, and the loss with its parts, below what is printed.

    On a terminal MMEngine's lines on training then go to the log file alone; all others are printed
    above the display. Where there is no terminal, there is no display, and lines are printed as
    ever. One process of a distributed run shows it.

    Args:
        console: Where to show it. By default standard output.
    """

    priority = 'LOWEST'  # when the step's figures are known

    def __init__(self, console: Console | None = None) -> None:
        self.console = console
        self.live: Live | None = None
        self.ends: deque[float] = deque(maxlen=WINDOW)
        self.drawn = 0.0
        self.validated = ''

    def before_train_epoch(self, runner: Runner) -> None:
        """Forget how long validation took."""
        self.ends.clear()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Sequence | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Draw what there is to say now and then."""
        self.ends.append(time.monotonic())
        if self.live is None and not self._begin():
            return
        if self.ends[-1] - self.drawn >= INTERVAL or runner.iter + 1 == runner.max_iters:
            self._draw(*self._where(runner), self._pace(runner), self._figures(runner, outputs))

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Sequence | None = None,
        outputs: Sequence | None = None,
    ) -> None:
        """Draw how far validation is."""
        if self.live is not None and time.monotonic() - self.drawn >= INTERVAL:
            self._draw('validation', batch_idx + 1, len(runner.val_dataloader), '', '')

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Remember what validation found."""
        found = [f'{name} {value:.2f}' for name, value in (metrics or {}).items()]
        self.validated = '   '.join(found)

    def after_train(self, runner: Runner) -> None:
        """Take the display away."""
        self.close()

    def close(self) -> None:
        """Take the display away, and let everything be printed as before."""
        if self.live is None:
            return
        self.live.stop()
        self.live = None
        for handler, stream in self.handlers:
            handler.removeFilter(_is_no_line)
            handler.setStream(stream)
        atexit.unregister(self.close)

    def _begin(self) -> bool:
        """Show the display where there is a terminal, and say whether it is shown."""
        file = sys.stdout if self.console is None else self.console.file
        if not is_main_process() or not file.isatty():
            return False
        # not before: what a console can do, it asks where its output goes when it is made
        console = self.console or Console(soft_wrap=True)  # a command that is said stays a line
        if console.is_dumb_terminal:
            return False
        columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn())
        self.progress = Progress(*columns, TextColumn('{task.fields[pace]}'), console=console)
        self.task = self.progress.add_task('', pace='')
        # drawn by the steps themselves: a thread would be lost in the workers that fork
        self.live = Live(console=console, auto_refresh=False, transient=True)
        self.live.start()
        self.handlers = [
            (handler, handler.stream)
            for logger in MMLogger._instance_dict.values()
            for handler in logger.handlers
            if getattr(handler, 'stream', None) is file
        ]
        for handler, _ in self.handlers:
            handler.addFilter(_is_no_line)
            handler.setStream(sys.stdout)  # which prints above the display now
        atexit.register(self.close)  # an error must not leave the terminal without a cursor
        return True

    def _draw(self, what: str, done: int, total: int, pace: str, figures: str) -> None:
        self.progress.update(self.task, description=what, completed=done, total=total, pace=pace)
        lines = [Text(line, no_wrap=True, overflow='ellipsis') for line in figures.splitlines()]
        assert self.live is not None  # begun
        self.live.update(Group(self.progress.get_renderable(), *lines), refresh=True)
        self.drawn = time.monotonic()

    def _where(self, runner: Runner) -> tuple[str, int, int]:
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            return 'iterations', runner.iter + 1, runner.max_iters
        length = len(runner.train_dataloader)
        done = runner.iter + 1 - runner.epoch * length
        return f'epoch {runner.epoch + 1}/{runner.max_epochs}', done, length

    def _pace(self, runner: Runner) -> str:
        if len(self.ends) < 2:
            return ''
        steps = (len(self.ends) - 1) / (self.ends[-1] - self.ends[0])
        images = steps * runner.train_dataloader.batch_size * get_world_size()
        left = datetime.timedelta(seconds=round((runner.max_iters - runner.iter - 1) / steps))
        return f'{images:,.0f} images/s   {left} left'

    def _figures(self, runner: Runner, outputs: dict | None) -> str:
        scalars = runner.message_hub.log_scalars  # of which the first steps are read later
        known = [name for name in outputs or {} if f'train/{name}' in scalars]
        mean = {name: scalars[f'train/{name}'].mean(WINDOW) for name in known}
        losses = {name: value for name, value in mean.items() if 'loss' in name}
        parts = [
            f'{name.rpartition(".")[2].removeprefix("loss_")} {value:.3f}'
            for name, value in losses.items()
            if name != 'loss'
        ]
        loss = f'loss {mean["loss"]:.3f}' if 'loss' in mean else ''
        lines = [loss + (' = ' + ' + '.join(parts) if len(parts) > 1 else '')]
        plain = {name.rpartition('.')[2]: value for name, value in mean.items()}
        shown = [f'{STATISTICS[name]} {plain[name]:.2f}' for name in STATISTICS if name in plain]
        lines += ['   '.join(shown)] if shown else []
        lines += [f'validation: {self.validated}'] if self.validated else []
        return '\n'.join(lines)


def _is_no_line(record: logging.LogRecord) -> bool:
    return _LINES.match(record.getMessage()) is None
