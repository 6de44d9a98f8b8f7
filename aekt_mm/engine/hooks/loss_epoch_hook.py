"""Tell losses in which epoch a run is."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from aekt_mm.registry import HOOKS


@HOOKS.register_module()
class LossEpochHook(Hook):
    """Call ``set_epoch`` of every part of the distillation losses that has it, epochs from 1.

    Such as :class:`~aekt_mm.models.losses.CurriculumTemperature`. What they make of it is a
    function of the epoch alone, so that it is right again after a resume.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        """Tell this epoch."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if not hasattr(model, 'losses'):
            raise TypeError(
                'LossEpochHook tells losses of a LogitDistiller the epoch, but the model is '
                f'{type(model).__name__}'
            )
        for part in model.losses.modules():
            if hasattr(part, 'set_epoch'):
                part.set_epoch(runner.epoch + 1)
