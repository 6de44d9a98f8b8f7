"""Read the figures of training steps when they are wanted, not after every step."""

from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook, LoggerHook, RuntimeInfoHook
from mmengine.logging import HistoryBuffer
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor

from aekt_mm.registry import HOOKS

#: How many steps the message hub remembers at least.
HISTORY = 1000


def without_graph(figures: dict[str, Any] | None) -> dict[str, Any]:
    """Return a step's figures so that they can be kept: with a graph they would keep the step's."""
    return {
        name: value.detach() if isinstance(value, Tensor) else value
        for name, value in (figures or {}).items()
    }


def read_figures(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what steps have put out, with numbers in the place of scalar tensors.

    The device is waited for once, however many steps and figures there are.

    Args:
        steps: Figures by name; scalar tensors of one device, and whatever else.

    Examples:
        >>> read_figures([{'loss': torch.tensor(0.5)}, {'loss': torch.tensor(0.25), 'lr': 0.1}])
        [{'loss': 0.5}, {'loss': 0.25, 'lr': 0.1}]
    """
    tensors = [value for step in steps for value in step.values() if isinstance(value, Tensor)]
    numbers = iter(torch.stack(tensors).tolist() if tensors else ())
    return [
        {name: next(numbers) if isinstance(v, Tensor) else v for name, v in step.items()}
        for step in steps
    ]


def reading_is_due(hook: Hook, runner: Runner, batch_idx: int) -> bool:
    """Return whether a log line is written after this step, or the epoch ends with it."""
    intervals = [other.interval for other in runner.hooks if isinstance(other, LoggerHook)]
    if not isinstance(runner.train_loop, EpochBasedTrainLoop):
        last = runner.iter + 1 == runner.max_iters
    else:
        last = hook.end_of_epoch(runner.train_dataloader, batch_idx)
    return last or hook.every_n_inner_iters(batch_idx, min(intervals, default=100))


@HOOKS.register_module()
class FiguresHook(RuntimeInfoHook):
    """MMEngine's ``RuntimeInfoHook`` without waiting for the device in every step.

    MMEngine reads each figure of each step, and so waits each time until the GPU has computed it.
    Here figures stay on the device until the next log line, validation or checkpoint, and are then
    read together. The message hub gets the same numbers. It remembers an epoch of them, and not
    the whole run: MMEngine copies all that it remembers in every step, 4 ms of a step at the end of
    240 epochs of CIFAR-100.
    """

    def __init__(self) -> None:
        self.pending: list[dict[str, Any]] = []

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Keep the step's figures; read all where a log line is due."""
        self.pending.append(without_graph(outputs))
        if reading_is_due(self, runner, batch_idx):
            self.read(runner)

    def before_val(self, runner: Runner) -> None:
        """Read what is pending."""
        self.read(runner)
        super().before_val(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Read what is pending, into the checkpoint too."""
        if self.pending:
            self.read(runner)
            checkpoint['message_hub'] = runner.message_hub.state_dict()

    def read(self, runner: Runner) -> None:
        """Give the message hub the figures of all steps since the last reading."""
        columns: dict[str, list[Any]] = {}
        for figures in read_figures(self.pending):
            for name, value in figures.items():
                columns.setdefault(f'train/{name}', []).append(value)
        self.pending.clear()
        hub = runner.message_hub
        for name, (first, *rest) in columns.items():
            hub.update_scalar(name, first)
            values, counts = hub.log_scalars[name].data
            values, counts = np.append(values, rest), np.append(counts, np.ones(len(rest), int))
            hub.log_scalars[name] = HistoryBuffer(values, counts)
        if any(log.get('window_size') == 'global' for log in runner.log_processor.custom_cfg):
            return
        longest = max(HISTORY, len(runner.train_dataloader), runner.log_processor.window_size)
        for name, history in hub.log_scalars.items():
            values, counts = (part[-longest:] for part in history.data)
            hub.log_scalars[name] = HistoryBuffer(values, counts, max_length=longest)
