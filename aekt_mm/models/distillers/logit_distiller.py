"""The one place where student, teacher, connector and losses meet."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModel
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from aekt_mm.registry import MODELS, build
from aekt_mm.structures import batch_indices, batch_target

from ..classifiers import build_classifier, num_classes, run
from ..teachers import take_in
from .feature_pairs import FeaturePairs
from .student_inputs import student_inputs


@MODELS.register_module()
class LogitDistiller(BaseModel):
    """A student that learns from its labels and from a teacher's logits, and from its features.

    A batch's way through: images → student → logits → { cross-entropy of the student's own head }
    and → connector → { distillation losses ← teacher's logits }; where features are asked for, what
    both networks compute on the way → { losses on features }.

    The teacher is no submodule: it is in no checkpoint, no optimizer and no gradient exchange, and
    keeps its own mode; it only follows the student from device to device. Parts are built in this
    project's scope, so that ``type='AEKTLoss'`` needs no prefix, whatever the default scope.

    Args:
        student: An mmpretrain classifier: config, path of a config file, or built module.
        teacher: Config of a teacher, a teacher, a network from images to logits (N, C), or any
            callable to them from (inputs, data_samples), whose networks are frozen. None for a
            distiller that only predicts.
        losses: Distillation losses by name. A loss maps (student_logits, teacher_logits, target)
            to scalars; those with ``loss`` in their name are added up, the others only logged.
        features: Losses on features by name, and what they compare, see
            :class:`~aekt_mm.models.distillers.FeaturePairs`. Their projections are trained with
            the student and gone when it is published.
        image_size: Height and width in pixels of the images that features are of; the tools take it
            from the data. Not looked at without features.
        connector: Config of a connector, or a module from logits (N, C) to the logits of
            classification and those of distillation. None: both tasks read the student's.
        data_preprocessor: As in any MMEngine model. By default the student's own. Batch
            augmentations of the student (``train_cfg.augments``) hold in either, unless this one
            names ``batch_augments``.

    Raises:
        ValueError: If numbers of classes differ, there is no loss, or features are asked for that
            a network does not have.
        TypeError: If the student has no classification loss of its own, or several labels an image.

    Examples:
        >>> student = dict(
        ...     type='ImageClassifier',
        ...     backbone=dict(type='CIFARResNet', depth=8),
        ...     neck=dict(type='GlobalAveragePooling'),
        ...     head=dict(type='LinearClsHead', num_classes=10, in_channels=64))
        >>> distiller = LogitDistiller(
        ...     student,
        ...     teacher=lambda inputs, data_samples: torch.zeros(len(inputs), 10),
        ...     losses=dict(aekt=dict(type='AEKTLoss', beta=8.0)),
        ...     connector=dict(type='TaskSerializationFC'))
        >>> samples = [DataSample().set_gt_label(label) for label in (3, 5)]
        >>> sorted(distiller(torch.rand(2, 3, 32, 32), samples, mode='loss'))
        ['aekt.applied_weight', 'aekt.confidence_ratio', 'aekt.loss_explicit', 'aekt.loss_implicit',
         'agreement', 'loss_ce', 'student_top1', 'teacher_top1']
    """

    def __init__(
        self,
        student: dict | str | Path | nn.Module,
        teacher: dict | Callable | None,
        losses: dict[str, dict | nn.Module] | None = None,
        connector: dict | nn.Module | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        features: dict[str, dict] | None = None,
        image_size: int | None = None,
    ) -> None:
        student, student_preprocessor = build_classifier(student)
        super().__init__(student_inputs(student, student_preprocessor, data_preprocessor))
        self.student = student
        classes = num_classes(student)
        if not hasattr(self._head, '_get_loss'):
            raise TypeError(
                'the student must be an mmpretrain classifier, whose head has the loss for the '
                f'labels, but is {type(student).__name__}'
            )
        if isinstance(self._head, MultiLabelClsHead):
            raise TypeError(
                f"the student's head {type(self._head).__name__} gives an image several labels, "
                'but the losses compare distributions over classes of which one is right'
            )

        losses = {} if losses is None and features else losses
        named = isinstance(losses, dict) and 'type' not in losses and (losses or features)
        if not named or not all(isinstance(loss, dict | nn.Module) for loss in losses.values()):
            raise ValueError(
                "losses must map names to losses, as in dict(aekt=dict(type='AEKTLoss')), but is "
                f'{losses!r}'
            )
        twice = set(losses) & set(features or {})
        if twice:
            raise ValueError(f'losses and features must differ in their names, but share {twice}')
        # the random numbers that the other parts are built with are not missed afterwards: with
        # the same seed the student starts from the same weights, whatever teaches it
        with torch.random.fork_rng(devices=[]):
            self.losses = nn.ModuleDict({name: _built(loss) for name, loss in losses.items()})
            if isinstance(connector, dict):
                connector = {'num_classes': classes, **connector}
            self.connector = _built(connector)
            teacher = take_in(_built(teacher), student)
            # without a teacher it only predicts
            if features and teacher is not None:
                self.features = FeaturePairs(features, student, teacher, image_size)
            else:
                self.features = None
        self.__dict__['teacher'] = teacher  # not through nn.Module, which would own it
        _check_classes('connector', num_classes(self.connector), classes)
        _check_classes('teacher', num_classes(teacher), classes)
        if hasattr(teacher, 'adapt_to'):
            teacher.adapt_to(self.data_preprocessor)

        # multiplies the distillation losses; a tensor, so that a compiled step need not know it
        self.register_buffer('distill_weight', torch.ones(()), persistent=False)
        #: Whether all logits of the last batch were finite, the student's and the teacher's.
        self.finite: Tensor | None = None

    @property
    def _head(self) -> nn.Module:
        """What has the student's classification loss: its head, or a whole timm classifier."""
        return getattr(self.student, 'head', self.student)

    def _apply(self, fn: Callable, recurse: bool = True) -> 'LogitDistiller':
        if isinstance(self.teacher, nn.Module):
            self.teacher._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def forward(
        self,
        inputs: Tensor,
        data_samples: Sequence[DataSample] | None = None,
        mode: str = 'tensor',
    ) -> Any:
        """Run the student, and in training the teacher.

        Args:
            inputs: Preprocessed images, (N, 3, H, W).
            data_samples: N samples with their labels, needed for ``loss``.
            mode: 'tensor' for the logits of classification (N, C), 'predict' for the samples
                with predictions, 'loss' for the losses and statistics by name.
        """
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        logits, _ = self._logits(inputs)
        if mode == 'predict':
            return self._head._get_predictions(logits, data_samples)
        if mode == 'tensor':
            return logits
        raise ValueError(f"mode must be 'tensor', 'predict' or 'loss', but is {mode!r}")

    def loss(self, inputs: Tensor, data_samples: Sequence[DataSample]) -> dict[str, Tensor]:
        """Compute the cross-entropy of the student's head and the distillation losses.

        Returns:
            ``loss_ce`` and whatever else the head logs, what each distillation loss
            returns, its name before a dot, and as statistics in percent of the batch
            ``student_top1`` and ``teacher_top1``, the accuracy of both, and ``agreement``, how
            often both predict the same class.
        """
        if self.features is not None:
            self.features.watch()
        # first, so that its activations are gone before the student's are kept for the gradient
        with torch.no_grad():
            teacher_logits = self.teacher(inputs, data_samples)
        classification, distillation = self._logits(inputs)
        losses = self._label_loss(classification, data_samples)
        self.finite = torch.stack(
            [logits.detach().isfinite().all() for logits in (distillation, teacher_logits)]
        )
        target = batch_target(data_samples)
        losses |= _statistics(classification, teacher_logits, target)
        parts = {
            name: distill_loss(distillation, teacher_logits, target)
            for name, distill_loss in self.losses.items()
        }
        if self.features is not None:
            sample_idx = batch_indices(data_samples)
            if sample_idx is not None:
                sample_idx = sample_idx.to(inputs.device, non_blocking=True)
            parts |= self.features(target, sample_idx)
        for name, part in parts.items():
            for key, value in part.items():
                weight = self.distill_weight if 'loss' in key else 1
                losses[f'{name}.{key}'] = weight * value
        return losses

    @torch.compiler.disable  # where a whole step is compiled: heads take samples one by one
    def _label_loss(self, logits: Tensor, data_samples: Sequence[DataSample]) -> dict[str, Tensor]:
        losses = self._head._get_loss(logits, data_samples)
        losses['loss_ce'] = losses.pop('loss')
        return losses

    def _logits(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the student's logits for classification and for distillation."""
        logits = run(self.student, inputs, 'student')
        return (logits, logits) if self.connector is None else self.connector(logits)


def _built(part: Any) -> Any:
    return build(MODELS, part) if isinstance(part, dict) else part


@torch.no_grad()
def _statistics(student: Tensor, teacher: Tensor, target: Tensor) -> dict[str, Tensor]:
    labels = target if target.ndim == 1 else target.argmax(1)
    student, teacher = student.argmax(1), teacher.argmax(1)
    return {
        'student_top1': (student == labels).float().mean() * 100,
        'teacher_top1': (teacher == labels).float().mean() * 100,
        'agreement': (student == teacher).float().mean() * 100,
    }


def _check_classes(part: str, count: int | None, classes: int | None) -> None:
    if None not in (count, classes) and count != classes:
        right = 'they must agree'
        if part == 'teacher' and count > classes:
            right = 'classes=[...] of the teacher says which of its own each of these is'
        raise ValueError(f'the {part} has {count} classes, but the student has {classes}: {right}')
