"""Stop a run that can't be right, and say why."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from aekt_mm.models.classifiers import num_classes
from aekt_mm.registry import HOOKS

from .loss_epoch_hook import LossEpochHook


@HOOKS.register_module()
class DistillCheckHook(Hook):
    """Check labels before training and logits during it.

    Before the first step: the dataset has no more classes than the model, and the logits of a
    cached teacher belong to it. After every step: the
    student's and the teacher's logits are finite. The flags are read right after MMEngine has read
    the losses, when there is nothing left to wait for.

    Raises:
        ValueError: If the dataset has more classes than the model tells apart, or a part of a loss
            follows the epochs and there is no ``LossEpochHook``.
        FloatingPointError: If logits are NaN or infinite; the message says whose, and in which
            iteration. It comes before a checkpoint of that iteration can be written.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Compare the numbers of classes, and let a cached teacher look at the data."""
        dataset = runner.train_dataloader.dataset
        classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        count = num_classes(getattr(model, 'student', model))
        if classes is not None and count is not None and len(classes) > count:
            raise ValueError(
                f'{type(dataset).__name__} has {len(classes)} classes, but the model tells only '
                f'{count} apart: set num_classes of its head'
            )
        losses = getattr(model, 'losses', None)
        follows = [m for m in losses.modules() if hasattr(m, 'set_epoch')] if losses else []
        if follows and not any(isinstance(hook, LossEpochHook) for hook in runner.hooks):
            raise ValueError(
                f'{type(follows[0]).__name__} follows the epochs, but nothing tells it: add '
                "dict(type='LossEpochHook') to custom_hooks"
            )
        if hasattr(getattr(model, 'teacher', None), 'attach'):
            model.teacher.attach(
                runner.train_dataloader, model.data_preprocessor, runner.max_epochs
            )

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Look at the logits' flags."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        finite = getattr(model, 'finite', None)
        if finite is None or finite.all():
            return
        student, teacher = finite.tolist()
        sides = {
            (False, True): "the student's logits are",
            (True, False): "the teacher's logits are",
        }.get((student, teacher), "both the student's and the teacher's logits are")
        hint = (
            'training diverged: a lower learning rate, a lower loss weight or a bounded explicit '
            'term may help'
            if not student
            else 'look at its checkpoint and its normalisation'
        )
        raise FloatingPointError(
            f'{sides} NaN or infinite in iteration {runner.iter + 1} (epoch {runner.epoch + 1}): '
            f'{hint}'
        )
