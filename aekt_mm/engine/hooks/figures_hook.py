"""Read the figures of training steps when they are wanted, not after every step."""

from typing import Any

import torch
from mmengine.hooks import Hook, LoggerHook, RuntimeInfoHook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor

from aekt_mm.registry import HOOKS

#: How many steps the message hub remembers at least.
HISTORY = 1000


def read_figures(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what steps have put out, with numbers in the place of scalar tensors.

    The device is waited for once, however many steps and figures there are.

    Args:
        steps: Figures by name; scalar tensors of one device, and whatever else.

    Examples:
        >>> read_figures([{'loss': torch.tensor(0.5)}, {'loss': torch.tensor(0.25), 'lr': 0.1}])
        [{'loss': 0.5}, {'loss': 0.25, 'lr': 0.1}]
    """
    tensors = [
        value.detach().reshape(())
        for step in steps
        for value in step.values()
        if isinstance(value, Tensor)
    ]
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
        self.pending.append(outputs or {})
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
        hub = runner.message_hub
        for figures in read_figures(self.pending):
            for name, value in figures.items():
                hub.update_scalar(f'train/{name}', value)
        self.pending.clear()
        if any(log.get('window_size') == 'global' for log in runner.log_processor.custom_cfg):
            return
        longest = max(HISTORY, len(runner.train_dataloader), runner.log_processor.window_size)
        for history in hub.log_scalars.values():
            history.max_length = longest
