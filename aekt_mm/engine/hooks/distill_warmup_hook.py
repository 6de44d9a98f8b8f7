"""Raise the distillation weight over the first epochs."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner

from aekt_mm.registry import HOOKS


@HOOKS.register_module()
class DistillWarmupHook(Hook):
    """Multiply the distillation losses by min(epoch / epochs, 1), epochs counted from 1.

    The linear warm-up of DKD (Zhao et al., 2022, as its published code does it). The weight is a
    function of the epoch alone, so it is right again after a resume.

    Args:
        epochs: In which epoch the weight reaches 1, a whole number of at least 1.

    Raises:
        ValueError: If ``epochs`` is something else.
    """

    def __init__(self, epochs: int) -> None:
        if not isinstance(epochs, int) or epochs < 1:
            raise ValueError(f'epochs must be a whole number of at least 1, but is {epochs!r}')
        self.epochs = epochs

    def before_train(self, runner: Runner) -> None:
        """Check that the run counts epochs and distils."""
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise TypeError(
                'DistillWarmupHook counts epochs: it needs train_cfg=dict(by_epoch=True), but the '
                f'run has {type(runner.train_loop).__name__}'
            )
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if not hasattr(model, 'distill_weight'):
            raise TypeError(
                'DistillWarmupHook sets the distillation weight of a LogitDistiller, but the '
                f'model is {type(model).__name__}'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Set this epoch's weight."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.distill_weight.fill_(min((runner.epoch + 1) / self.epochs, 1.0))
