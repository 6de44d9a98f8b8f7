"""Raise the distillation weight over the first epochs."""

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner

from aekt_mm.models.losses.curriculum_temperature import epochs_of_share
from aekt_mm.registry import HOOKS


@HOOKS.register_module()
class DistillWarmupHook(Hook):
    """Multiply the distillation losses by min(epoch / epochs, 1), epochs counted from 1.

    The linear warm-up of DKD (Zhao et al., 2022, as its published code does it). The weight is a
    function of the epoch alone, so it is right again after a resume.

    Args:
        epochs: In which epoch the weight reaches 1, a whole number of at least 1.
        share: The same as a share of the run, above 0 and at most 1, whole epochs of it: a shorter
            run warms up for as much shorter, and one of a few epochs not at all. One of the two is
            to be set.

    Raises:
        ValueError: If they are something else.
    """

    def __init__(self, epochs: int | None = None, share: float | None = None) -> None:
        if (epochs is None) == (share is None):
            raise ValueError(
                f'either epochs or share must be set, but are {epochs!r} and {share!r}'
            )
        if share is None and (not isinstance(epochs, int) or epochs < 1):
            raise ValueError(f'epochs must be a whole number of at least 1, but is {epochs!r}')
        if epochs is None and (not isinstance(share, int | float) or not 0 < share <= 1):
            raise ValueError(f'share must be above 0 and at most 1, but is {share!r}')
        self.epochs = epochs
        self.share = share

    def before_train(self, runner: Runner) -> None:
        """Check that the run counts epochs and distils, and that they are enough to warm up."""
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
        if self.warmup_epochs(runner) > runner.max_epochs:
            print_log(
                f'The warm-up is longer than the run: after {runner.max_epochs} epochs the '
                f'distillation losses will have {runner.max_epochs}/{self.epochs} of their weight. '
                'Set epochs of DistillWarmupHook, or share in its place',
                logger='current',
                level=30,
            )

    def warmup_epochs(self, runner: Runner) -> int:
        """Return in which epoch of a run the weight reaches 1, at least 1."""
        if self.epochs is not None:
            return self.epochs
        assert self.share is not None  # the constructor asks for one of the two
        return epochs_of_share(self.share, runner.max_epochs)

    def before_train_epoch(self, runner: Runner) -> None:
        """Set this epoch's weight."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.distill_weight.fill_(min((runner.epoch + 1) / self.warmup_epochs(runner), 1.0))
