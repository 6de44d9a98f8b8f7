"""Tell losses in which epoch a run is."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop, Runner

from aekt_mm.registry import HOOKS


@HOOKS.register_module()
class LossEpochHook(Hook):
    """Call ``set_epoch(epoch, max_epochs)`` of every part of the losses that has it.

    Such as :class:`~aekt_mm.models.losses.CurriculumTemperature`. Epochs count from 1; in a run by
    iterations each pass over the training images is one. What the parts make of it is a function of
    the two numbers alone, so that it is right again after a resume.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        """Tell this epoch; a run by iterations calls it once, at its start."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if not hasattr(model, 'losses'):
            raise TypeError(
                'LossEpochHook tells losses of a LogitDistiller the epoch, but the model is '
                f'{type(model).__name__}'
            )
        done, max_epochs = epochs_of(runner)
        for part in model.losses.modules():
            if hasattr(part, 'set_epoch'):
                part.set_epoch(done + 1, max_epochs)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Tell the epoch where a run by iterations begins another pass."""
        by_iterations = isinstance(runner.train_loop, IterBasedTrainLoop)
        if by_iterations and runner.iter % len(runner.train_dataloader) == 0:
            self.before_train_epoch(runner)


def epochs_of(runner: Runner) -> tuple[int, int]:
    """Return how many epochs of a run are done, and how many it has.

    MMEngine counts a run by iterations as one epoch. Here its epochs are passes over the training
    images, the last of which may be cut short.
    """
    if not isinstance(runner.train_loop, IterBasedTrainLoop):
        return runner.epoch, runner.max_epochs
    length = len(runner.train_dataloader)
    return runner.iter // length, -(-runner.max_iters // length)
