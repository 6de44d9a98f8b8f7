"""Say that a run has learned nothing."""

import math

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from aekt_mm.models.classifiers import num_classes

#: Of the loss of guessing: a student that has learned anything is below.
SHARE = 0.97

#: Over how many steps of training figures are averaged.
WINDOW = 100


class ChanceHook(Hook):
    """Warn, after the first validation and after the last, of a student that only guesses.

    Its accuracy is that of chance, 1 / classes, up to three standard deviations of guessing at as
    many images; in validation, and in the last steps of training too, since what is validated may
    be a moving average. Without a distiller, which logs ``student_top1``, it is the loss that is
    looked at there: that of guessing is the logarithm of the number of classes.
    """

    def __init__(self) -> None:
        self.warned = False

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Look at what validation found."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        classes = num_classes(getattr(model, 'student', model))
        top1 = next((v for k, v in (metrics or {}).items() if k.endswith('accuracy/top1')), None)
        last = runner.iter >= runner.max_iters
        if classes is None or top1 is None or (self.warned and not last):
            return
        chance = 100 / classes
        scalars = runner.message_hub.log_scalars
        if 'train/student_top1' in scalars:
            learned = scalars['train/student_top1'].mean(WINDOW)
            images = WINDOW * runner.train_dataloader.batch_size
            learns = learned > chance + _margin(classes, images)
            told = f'in training on {learned:.1f} %'
        elif 'train/loss' in scalars:
            loss, guessing = scalars['train/loss'].mean(WINDOW), math.log(classes)
            learns = loss < SHARE * guessing
            told = f'its loss is {loss:.2f}, and that of guessing {guessing:.2f}'
        else:
            return
        if learns or top1 > chance + _margin(classes, len(runner.val_dataloader.dataset)):
            return
        self.warned = True
        print_log(
            f'After iteration {runner.iter} the student only guesses: it is right on {top1:.1f} % '
            f'of the validation images, and chance is {chance:.1f} %; {told}. Look at the learning '
            'rate, the labels and the normalisation of the images',
            'current',
            level=30,
        )


def _margin(classes: int, images: int) -> float:
    """Return three standard deviations of guessing, in percent."""
    chance = 1 / classes
    return 300 * math.sqrt(chance * (1 - chance) / images)
