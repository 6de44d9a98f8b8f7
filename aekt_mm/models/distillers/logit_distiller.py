"""The one place where student, teacher, connector and losses meet."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModel
from mmpretrain.models.heads import (
    ClsHead,
    ConformerHead,
    EfficientFormerClsHead,
    MultiLabelClsHead,
)
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from aekt_mm.registry import MODELS, build
from aekt_mm.structures import batch_indices, batch_target

from ..classifiers import build_classifier, class_logits, num_classes, run
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
        teacher: Config of a teacher, a :class:`~aekt_mm.models.teachers.Teacher`, a network from
            images to logits (N, C), or any callable to them from (inputs, data_samples), whose
            networks are frozen. None for a distiller that only predicts.
        losses: Distillation losses by name. A loss maps (student_logits, teacher_logits, target)
            to scalars; those with ``loss`` in their name are added up, the others only logged.
        features: Losses on features by name, and what they compare, see
            :class:`~aekt_mm.models.distillers.FeaturePairs`. Their projections are trained with
            the student and gone when it is published.
        image_size: Height and width in pixels of the images that features are of; the tools take it
            from the data. Not looked at without features.
        connector: Config of a connector, or a module from logits (N, C) to the logits of
            classification and those of distillation. None: both tasks read the student's.
        label_weight: Multiplies the loss of the student's own head, of at least 0; with 0 the
            student learns from the teacher alone.
        data_preprocessor: As in any MMEngine model. By default the student's own. Batch
            augmentations of the student (``train_cfg.augments``) hold in either, unless this one
            names ``batch_augments``.

    Raises:
        ValueError: If numbers of classes differ, there is no loss, features are asked for that a
            network does not have, or the labels' weight is said here and in the head's loss.
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
        label_weight: float = 1.0,
        image_size: int | None = None,
    ) -> None:
        if not isinstance(label_weight, int | float) or not 0 <= label_weight < math.inf:
            raise ValueError(
                f'label_weight must be a finite number of at least 0, but is {label_weight!r}'
            )
        student, student_preprocessor = build_classifier(student)
        super().__init__(student_inputs(student, student_preprocessor, data_preprocessor))
        self.student = student
        if hasattr(student, '_add_state_dict_prefix'):
            self._register_load_state_dict_pre_hook(_take_off_prefix)
        classes = num_classes(student)
        if not hasattr(self.head, '_get_loss'):
            raise TypeError(
                'the student must be an mmpretrain classifier, whose head has the loss for the '
                f'labels, but is {type(student).__name__}'
            )
        if isinstance(self.head, MultiLabelClsHead):
            raise TypeError(
                f"the student's head {type(self.head).__name__} gives an image several labels, "
                'but the losses compare distributions over classes of which one is right'
            )
        #: Whether the head's loss is of more than the logits, and so is asked for as a whole.
        self.whole_loss = _is_of_more_than_logits(getattr(student, 'head', None))
        if self.whole_loss and connector is not None:
            raise ValueError(
                f"the student's head {type(self.head).__name__} computes its loss from the "
                "student's features, which no connector's logits would enter: set connector=None"
            )

        own = getattr(getattr(self.head, 'loss_module', None), 'loss_weight', 1.0)
        if label_weight != 1 and own != 1:
            raise ValueError(
                f'the weight of the labels is said twice: label_weight is {label_weight}, and the '
                f"loss of the student's head has loss_weight={own}. Say it in label_weight alone"
            )
        self.label_weight = label_weight

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
            teacher = take_in(teacher, student)
            # without a teacher it only predicts
            if features and teacher is not None:
                self.features = FeaturePairs(features, student, teacher, image_size)
            else:
                self.features = None
        self.__dict__['teacher'] = teacher  # not through nn.Module, which would own it
        _check_classes('connector', num_classes(self.connector), classes)
        if teacher is not None:
            _check_classes('teacher', teacher.num_classes, classes)
            teacher.attach(None, self.data_preprocessor)  # the data are not known yet

        self.in_run = False

        # multiplies the distillation losses; a tensor, so that a compiled step need not know it
        self.register_buffer('distill_weight', torch.ones(()), persistent=False)
        # whether logits were finite, the student's and the teacher's: so far, or in the first step
        # in which they were not
        self.register_buffer('finite', torch.ones(2, dtype=torch.bool), persistent=False)

    def init_weights(self) -> None:
        """Initialise the weights, as a run does first. From then on its data must be known."""
        super().init_weights()
        self.in_run = True

    @property
    def head(self) -> nn.Module:
        """The student's head, which has the loss of the labels, or a whole timm classifier."""
        return getattr(self.student, 'head', self.student)

    def _apply(self, fn: Callable, recurse: bool = True) -> 'LogitDistiller':
        if self.teacher is not None:
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
            return self.head._get_predictions(logits, data_samples)
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

        Raises:
            RuntimeError: If a run has not shown its data to a teacher that must know them.
        """
        if self.in_run and self.teacher.unsure:
            raise RuntimeError(
                "the teacher has not been shown the run's data, which it needs to know: add "
                "dict(type='aekt_mm.DistillCheckHook') to custom_hooks"
            )
        if self.features is not None:
            self.features.watch()
        # first, so that its activations are gone before the student's are kept for the gradient
        with torch.no_grad():
            teacher_logits = self.teacher(inputs, data_samples)
        target = batch_target(data_samples)
        if self.whole_loss:
            features = self.student.extract_feat(inputs)
            losses = self._loss_of_samples(features, data_samples)
            classification = distillation = class_logits(self.student, self.head(features))
        else:
            classification, distillation = self._logits(inputs)
            losses = self._label_loss(classification, target, data_samples)
        finite = torch.stack([x.detach().isfinite().all() for x in (distillation, teacher_logits)])
        self.finite.copy_(torch.where(self.finite.all(), finite, self.finite))
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

    def _label_loss(
        self, logits: Tensor, target: Tensor, data_samples: Sequence[DataSample]
    ) -> dict[str, Tensor]:
        head = self.head
        if getattr(type(head), '_get_loss', None) is ClsHead._get_loss and not head.cal_acc:
            # what it computes, without taking the samples apart: that costs more than the loss
            loss = head.loss_module(logits, target, avg_factor=len(logits))
            return {'loss_ce': self.label_weight * loss}
        return self._loss_of_samples(logits, data_samples)

    @torch.compiler.disable  # where a whole step is compiled: heads take samples one by one
    def _loss_of_samples(
        self, outputs: Any, data_samples: Sequence[DataSample]
    ) -> dict[str, Tensor]:
        loss = self.head.loss if self.whole_loss else self.head._get_loss
        losses = loss(outputs, data_samples)
        losses['loss_ce'] = self.label_weight * losses.pop('loss')
        return losses

    def get_layer_depth(self, param_name: str) -> tuple[int, int]:
        """Return a parameter's depth in the student and the largest: layer decay asks for them.

        What is not the student's, a connector for instance, is as deep as the student's head.
        """
        return self.student.get_layer_depth(param_name.removeprefix('student.'))

    def prepare(self, data_samples: Sequence[DataSample]) -> None:
        """Do for a batch what a step that runs as a CUDA graph can't: read the teacher's logits."""
        self.teacher.prepare(data_samples)

    def _logits(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the student's logits for classification and for distillation."""
        logits = class_logits(self.student, run(self.student, inputs, 'student'))
        return (logits, logits) if self.connector is None else self.connector(logits)


def _is_of_more_than_logits(head: nn.Module | None) -> bool:
    """Whether a head's loss is another than that of its logits: with a margin, of two outputs."""
    of_logits = (None, ClsHead.loss, EfficientFormerClsHead.loss)
    return isinstance(head, ConformerHead) or getattr(type(head), 'loss', None) not in of_logits


def _take_off_prefix(state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Name weights as mmpretrain's classifiers of timm and Hugging Face load them.

    They put ``model.`` before each name, but take it off what they save only where they are the
    whole model.
    """
    saved = f'{prefix}student.model.'
    for name in [name for name in state if name.startswith(saved)]:
        state[f'{prefix}student.{name.removeprefix(saved)}'] = state.pop(name)


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
