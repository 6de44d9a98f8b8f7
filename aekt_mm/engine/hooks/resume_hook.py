"""What a run needs beyond MMEngine's checkpoint to go on as it would have."""

from typing import Any

import torch
from mmengine.dist import all_reduce, is_distributed
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn

#: Where a checkpoint has the gradients that had been added up for a step still to be taken.
GRADIENTS = 'accumulated_gradients'

#: Where it has what each EarlyStoppingHook had seen.
EARLY_STOPPING = 'early_stopping'


class ResumeHook(Hook):
    """Keep in checkpoints what MMEngine leaves out, and make up for a validation that was lost.

    Gradients that add up over several batches (``accumulative_counts``) are saved where a
    checkpoint falls between two steps. Under several ranks each has its own: they are averaged
    before such a checkpoint, on all ranks, so that a run that is resumed goes on with the same.
    ``EarlyStoppingHook`` keeps its best score and how long ago that was.

    A run by iterations saves before it validates. One that goes on at such a checkpoint begins with
    that validation, where it is due, as :class:`~aekt_mm.engine.loops.ResumableEpochLoop` does.
    """

    priority = 'BELOW_NORMAL'  # before checkpoints are saved

    def __init__(self) -> None:
        self.averaged: int | None = None
        self.restored = False

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take up what was saved, if the run goes on."""
        if not runner._resume:
            return
        parameters = dict(_unwrapped(runner.model).named_parameters())
        for name, gradient in checkpoint.get(GRADIENTS, {}).items():
            parameters[name].grad = gradient.to(parameters[name])
            self.restored = True
        seen = checkpoint.get(EARLY_STOPPING, [])
        for hook, (waited, best) in zip(_early_stopping(runner), seen):
            hook.wait_count, hook.best_score = waited, best

    def before_train(self, runner: Runner) -> None:
        """Say what a run goes on without: its gradients, or where its augmentation was."""
        sampler = runner.train_dataloader.sampler
        if runner._resume and runner.iter and not hasattr(sampler, 'num_views'):
            print_log(
                'Batches come in the order that they would have had, but what augmentation draws '
                'at random is drawn anew: with any, the run does not end bit for bit as it would '
                'have. A ViewSampler would make it exact',
                'current',
                level=30,
            )
        if runner._resume and _pending(runner) and not self.restored:
            print_log(
                'The checkpoint was saved between two steps of accumulated gradients and does not '
                'have them: the first step is of fewer batches, and the run does not end as it '
                'would have',
                'current',
                level=30,
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Validate, where a run by iterations was saved and did not come to it."""
        loop = runner.train_loop
        if not isinstance(loop, IterBasedTrainLoop) or loop.iter == 0 or runner.val_loop is None:
            return
        loop._decide_current_val_interval()
        due = loop.iter % loop.val_interval == 0 or loop.iter == loop.max_iters
        if due and loop.iter >= loop.val_begin:
            runner.val_loop.run()

    def after_train_iter(self, runner: Runner, *_: object, **__: object) -> None:
        """Average gradients before a checkpoint by iterations."""
        for hook in runner.hooks:
            saves = isinstance(hook, CheckpointHook) and not hook.by_epoch
            if saves and hook.every_n_train_iters(runner, hook.interval, hook.save_begin):
                self._average(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Average gradients before a checkpoint by epochs."""
        if any(isinstance(hook, CheckpointHook) and hook.by_epoch for hook in runner.hooks):
            self._average(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add to a checkpoint what a run goes on with."""
        if 'optimizer' not in checkpoint:
            return  # to evaluate, as MMEngine's best
        if _pending(runner) and (not is_distributed() or self.averaged == runner.iter):
            checkpoint[GRADIENTS] = {
                name: parameter.grad.cpu()
                for name, parameter in _unwrapped(runner.model).named_parameters()
                if parameter.grad is not None
            }
        seen = [(hook.wait_count, float(hook.best_score)) for hook in _early_stopping(runner)]
        if seen:
            checkpoint[EARLY_STOPPING] = seen

    def _average(self, runner: Runner) -> None:
        """Give all ranks the mean of their gradients; a step is taken with the same mean."""
        if not is_distributed() or not _pending(runner) or self.averaged == runner.iter:
            return
        self.averaged = runner.iter
        parameters = [p for p in _unwrapped(runner.model).parameters() if p.requires_grad]
        has = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float32)
        all_reduce(has, 'max')
        for parameter, some in zip(parameters, has.tolist()):
            if some:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                all_reduce(parameter.grad, 'mean')


def _pending(runner: Runner) -> bool:
    """Return whether gradients have been added up since the last step."""
    optim_wrapper = runner.optim_wrapper
    return isinstance(optim_wrapper, OptimWrapper) and not optim_wrapper.should_update()


def _early_stopping(runner: Runner) -> list[EarlyStoppingHook]:
    return [hook for hook in runner.hooks if isinstance(hook, EarlyStoppingHook)]


def _unwrapped(model: Any) -> nn.Module:
    return model.module if is_model_wrapper(model) else model
