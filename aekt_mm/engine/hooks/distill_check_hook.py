"""Stop a run that can't be right, and say why."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from aekt_mm.models.classifiers import num_classes
from aekt_mm.models.weights import check_finite, load_own_weights, misfits
from aekt_mm.registry import HOOKS
from aekt_mm.structures import ViewKey, kept_generators

from ..class_names import check_built_classes
from .loss_epoch_hook import LossEpochHook

#: Over how many batches the teacher is watched.
TRIAL_BATCHES = 100


@HOOKS.register_module()
class DistillCheckHook(Hook):
    """Check weights and labels before training, the teacher at its begin, logits during it.

    What is loaded is of this model: all of it where a run resumes, some of it where ``load_from``
    names weights to start from. Before the first step: there are batches, labels are of classes
    that the model has, data sets number them alike, and the logits of a cached teacher belong to
    the data. After the first hundred steps a teacher that is right hardly more often than chance is
    warned of: it is untrained, normalised wrongly, or has its classes in another order. After every
    step: the student's and the teacher's logits are finite. The flags are read right after MMEngine
    has read the losses, when there is nothing left to wait for.

    Raises:
        ValueError: If a checkpoint, the number of batches or the labels do not fit, or a part of a
            loss follows the epochs and there is no ``LossEpochHook``.
        FloatingPointError: If logits are NaN or infinite; the message says whose, and in which
            iteration. It comes before a checkpoint of that iteration can be written.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.teacher_top1: list[Tensor] = []

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare what was read with the model, which MMEngine fills as far as names fit."""
        state = checkpoint.get('state_dict', checkpoint)
        state = {k.removeprefix('module.'): v for k, v in state.items() if isinstance(v, Tensor)}
        source, model = runner._load_from or runner.work_dir, _unwrapped(runner.model)
        if runner._resume:
            load_own_weights(model, state, source)
            return
        wanted = model.state_dict()
        fitting = [
            name for name in wanted if name in state and state[name].shape == wanted[name].shape
        ]
        differences = '\n  '.join(misfits(wanted, state))
        if not fitting:
            raise ValueError(f'load_from={source}: none of it fits the model:\n  {differences}')
        check_finite(state, source)
        if differences:
            print_log(
                f"load_from={source}: {len(fitting)} of {len(wanted)} of the model's weights and "
                f'statistics are loaded; the rest does not fit:\n  {differences}',
                'current',
                level=30,
            )

    def before_train(self, runner: Runner) -> None:
        """Look at loop and labels, and let a cached teacher look at the data."""
        loader, model = runner.train_dataloader, _unwrapped(runner.model)
        if len(loader) == 0:
            raise ValueError(
                f'{len(loader.dataset)} training images give no batch of {loader.batch_size}: '
                'lower train_dataloader.batch_size, or set its drop_last=False'
            )
        losses = getattr(model, 'losses', None)
        follows = [m for m in losses.modules() if hasattr(m, 'set_epoch')] if losses else []
        if follows and not any(isinstance(hook, LossEpochHook) for hook in runner.hooks):
            raise ValueError(
                f'{type(follows[0]).__name__} follows the epochs, but nothing tells it: add '
                "dict(type='LossEpochHook') to custom_hooks"
            )
        loop = runner.train_loop
        if type(loop) is EpochBasedTrainLoop and loop.iter != loop.epoch * len(loader):
            raise ValueError(
                "MMEngine's loop would repeat the epoch that the checkpoint was saved in: resume "
                'with tools/train.py, or at the checkpoint of an epoch'
            )
        if hasattr(model, 'losses') and model.teacher is None:
            raise ValueError('model.teacher is None: a distiller without a teacher only predicts')
        classes = num_classes(getattr(model, 'student', model))
        check_labels(loader.dataset, classes)
        datasets = {'train_dataloader.dataset': loader.dataset}
        if isinstance(runner._val_loop, BaseLoop):
            datasets['val_dataloader.dataset'] = runner._val_loop.dataloader.dataset
            check_topk(runner._val_loop.evaluator.metrics, classes)
        check_built_classes(datasets)
        check_last_batch(loader, model)
        if hasattr(getattr(model, 'teacher', None), 'attach'):
            model.teacher.attach(loader, model.data_preprocessor, runner.max_epochs)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Look at the logits' flags, and at the teacher's accuracy."""
        model = _unwrapped(runner.model)
        finite = getattr(model, 'finite', None)
        if finite is not None and not finite.all():
            raise FloatingPointError(_not_finite(*finite.tolist(), runner))
        if 'teacher_top1' in (outputs or {}) and len(self.teacher_top1) < TRIAL_BATCHES:
            self.teacher_top1.append(torch.as_tensor(outputs['teacher_top1']))
            if len(self.teacher_top1) == min(TRIAL_BATCHES, runner.max_iters):
                self._judge(num_classes(model.student))

    def _judge(self, classes: int | None) -> None:
        top1 = torch.stack(self.teacher_top1).mean().item()
        # a tenth of the way from chance to perfection
        if classes is not None and top1 < 100 / classes + 10 * (1 - 1 / classes):
            print_log(
                f'The teacher is right on {top1:.1f} % of the images of the first '
                f'{len(self.teacher_top1)} batches, and chance is {100 / classes:.1f} %: a student '
                'learns little from it. Look at its weights (model.teacher.checkpoint), its '
                'normalisation and channel order (model.teacher.data_preprocessor) and the order '
                'of its classes',
                'current',
                level=30,
            )


def check_labels(dataset: Any, count: int | None) -> None:
    """Check that a dataset's labels are classes that a model has.

    Args:
        dataset: One of ours or of mmpretrain; of another kind only its ``metainfo`` is looked at.
        count: How many classes the model tells apart, None where that is not known.

    Raises:
        ValueError: If there are more classes, or a label is not in [0, count).
    """
    if count is None:
        return
    name = type(dataset).__name__
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    labels = _labels(dataset)
    if classes is not None and len(classes) > count:
        right = 'set num_classes of its head'
        without = [] if labels is None else [*map(classes.__getitem__, _without(labels, classes))]
        if without:
            names = ', '.join(map(repr, without[:5])) + (', ...' if len(without) > 5 else '')
            right += f', or remove the folders that have no image ({names})'
        raise ValueError(
            f'{name} has {len(classes)} classes, but the model tells only {count} apart: {right}'
        )
    folders = getattr(dataset, 'folder_to_idx', None)
    if folders and classes is not None and len(folders) < len(classes):
        place = getattr(dataset, 'img_prefix', 'its folder')
        raise ValueError(
            f'{name} has {len(classes)} classes, but {place} has a folder for only {len(folders)} '
            'of them, so that labels would be wrong'
        )
    if labels is None:
        return
    wrong = np.flatnonzero((labels < 0) | (labels >= count))
    if len(wrong):
        raise ValueError(
            f'{len(wrong)} of {len(labels)} labels of {name} are of no class of the model, which '
            f'tells {count} apart: sample {wrong[0]} has label {labels[wrong[0]]}'
        )


def _labels(dataset: Any) -> np.ndarray | None:
    """Return a dataset's labels, (N,) integers; None where they are unknown or of another kind."""
    while hasattr(dataset, 'dataset') and not hasattr(dataset, 'labels'):
        dataset = dataset.dataset  # what a wrapper has is what it gives
    labels = getattr(dataset, 'labels', None)
    if labels is None and hasattr(dataset, 'get_gt_labels'):
        labels = dataset.get_gt_labels()
    try:
        labels = np.asarray(labels)
    except ValueError:
        return None  # of several classes each
    return labels if labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer) else None


def _without(labels: np.ndarray, classes: Sequence[str]) -> list[int]:
    """Return the classes that no label is of."""
    return np.setdiff1d(np.arange(len(classes)), labels).tolist()


def check_topk(metrics: Sequence[Any], count: int | None) -> None:
    """Check that accuracy is asked for among no more classes than a model has.

    Args:
        metrics: An evaluator's.
        count: How many classes the model tells apart, None where that is not known.

    Raises:
        ValueError: If there are fewer.
    """
    for metric in metrics:
        topk = getattr(metric, 'topk', None) or ()
        topk = topk if isinstance(topk, Sequence) else [topk]
        if count is not None and any(k > count for k in topk):
            raise ValueError(
                f'topk={tuple(topk)} of {type(metric).__name__} (val_evaluator, test_evaluator) '
                f'asks for more classes than the {count} that there are: set topk=(1,)'
            )


def check_last_batch(loader: DataLoader, model: nn.Module) -> None:
    """Check that a last batch of one image, where there is one, can be trained on.

    Batch norms that see one number a channel, as those behind pooling do, can't.

    Args:
        loader: Of the training data.
        model: With ``data_preprocessor``.

    Raises:
        ValueError: If it can't.
    """
    size, sampler = loader.batch_size, loader.sampler
    if loader.drop_last or not size or not hasattr(sampler, '__len__'):
        return
    if (len(sampler) % size or size) != 1:
        return
    key = ViewKey(0, 0, 0) if hasattr(sampler, 'num_views') else 0
    dataset, student = loader.dataset, copy.deepcopy(getattr(model, 'student', model))
    with kept_generators(), torch.no_grad():
        batch = dataset.__getitems__([key]) if hasattr(dataset, '__getitems__') else [dataset[key]]
        inputs = model.data_preprocessor(loader.collate_fn(batch), False)['inputs']
        try:
            student.train()(inputs)
        except ValueError as error:
            if 'more than 1 value per channel' not in str(error):
                raise
            raise ValueError(
                f'{len(sampler)} images in batches of {size} leave a last batch of one image, of '
                'which batch norm can take no mean: set train_dataloader.drop_last=True, or '
                'another batch_size'
            ) from error


def _unwrapped(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model


def _not_finite(student: bool, teacher: bool, runner: Runner) -> str:
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
    return (
        f'{sides} NaN or infinite in iteration {runner.iter + 1} (epoch {runner.epoch + 1}): {hint}'
    )
