"""Stop a run that can't be right, and say why."""

import copy
import math
import statistics
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

from aekt_mm.datasets import ViewDataset
from aekt_mm.models.classifiers import num_classes
from aekt_mm.models.teachers import Teacher
from aekt_mm.models.weights import check_finite, check_held, check_own_weights, misfits
from aekt_mm.registry import HOOKS
from aekt_mm.structures import ViewKey, kept_generators

from ..class_names import check_built_classes
from ..loops import check_batches
from .figures_hook import FiguresHook, read_figures, reading_is_due, without_graph
from .loss_epoch_hook import LossEpochHook, epochs_of

#: What may help a run that has diverged.
DIVERGED = 'a lower learning rate, a lower loss weight or a bounded explicit term may help'

#: Over how many batches the teacher is watched.
TRIAL_BATCHES = 100


@HOOKS.register_module()
class DistillCheckHook(Hook):
    """Check weights and labels before training, the teacher at its begin, logits during it.

    What is loaded is of this model: all of it where a run resumes, some of it where ``load_from``
    names weights to start from. Before the first step: there are batches, labels are of classes
    that the model has, data sets number them alike, and the logits of a cached teacher belong to
    the data. The labels' loss and its weight are said. After the first
    hundred steps a teacher that is right hardly more often than chance is warned of: it is
    untrained, normalised wrongly, or has its classes in another order. Of every step: its losses
    are finite. They are read where a log line is due, so that no step waits for the device, and
    before a validation or a checkpoint, for which the weights must be finite too.

    Raises:
        ValueError: If a checkpoint, the number of batches or the labels do not fit, or a part of a
            loss follows the epochs and there is no ``LossEpochHook``.
        FloatingPointError: If a loss is NaN or infinite; the message says whose logits are, and
            which iteration was the first. It comes before a checkpoint can be written.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.teacher_top1: list[float] = []
        self.pending: list[dict[str, Any]] = []
        self.training = False
        #: What the model must hold when training starts; other hooks may change it until then.
        self.read: dict[str, Tensor] = {}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare what was read with the model, which MMEngine fills as far as names fit."""
        self.read = checkpoint.get('state_dict', checkpoint)
        state = _without_wrapper(self.read)
        source, model = runner._load_from or runner.work_dir, _unwrapped(runner.model)
        if runner._resume:
            check_own_weights(model, state, source)
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

    def before_run(self, runner: Runner) -> None:
        """Tell losses that remember every image how many there are, before a checkpoint is read."""
        for part in _unwrapped(runner.model).modules():
            # a loop that is not built: the run only validates
            if hasattr(part, 'set_num_samples') and isinstance(runner._train_loop, BaseLoop):
                part.set_num_samples(count_samples(runner.train_dataloader.dataset))

    def before_train(self, runner: Runner) -> None:
        """Look at loop and labels, and let a cached teacher look at the data."""
        self.training = True
        loader, model = runner.train_dataloader, _unwrapped(runner.model)
        self._check_loaded(runner, model)
        check_batches(loader)
        losses = getattr(model, 'losses', None)
        follows = [m for m in losses.modules() if hasattr(m, 'set_epoch')] if losses else []
        if follows and not any(isinstance(hook, LossEpochHook) for hook in runner.hooks):
            raise ValueError(
                f'{type(follows[0]).__name__} follows the epochs, but nothing tells it: add '
                "dict(type='LossEpochHook') to custom_hooks"
            )
        if not any(isinstance(hook, FiguresHook) for hook in runner.hooks):
            print_log(
                "MMEngine's RuntimeInfoHook waits for the device in every step to read its losses. "
                "To spare a GPU that: default_hooks.runtime_info=dict(type='aekt_mm.FiguresHook')",
                'current',
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
        if hasattr(model, 'label_weight'):
            loss = getattr(model.head, 'loss_module', model.head)
            weight = model.label_weight * getattr(loss, 'loss_weight', 1.0)
            print_log(f'loss_ce is {type(loss).__name__} of the labels times {weight:g}', 'current')
        if isinstance(getattr(model, 'teacher', None), Teacher):
            model.teacher.attach(loader, model.data_preprocessor, epochs_of(runner)[1])

    def _check_loaded(self, runner: Runner, model: nn.Module) -> None:
        """See that MMEngine, which does not look, has filled the model with what fits it."""
        state, self.read = _without_wrapper(self.read), {}
        held = model.state_dict(keep_vars=True)
        if not runner._resume:  # tables that a network computes may be another's
            held = {name: value for name, value in held.items() if isinstance(value, nn.Parameter)}
        fitting = {
            name: value
            for name, value in state.items()
            if name in held and held[name].shape == value.shape
        }
        check_held(held, fitting, runner._load_from or runner.work_dir)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Keep the step's figures; look at all where a log line is due."""
        self.pending.append({'iter': runner.iter + 1, **without_graph(outputs)})
        if reading_is_due(self, runner, batch_idx):
            self.look(runner)

    def before_val(self, runner: Runner) -> None:
        """Look at what is pending, and at the weights."""
        if self.training:
            self.look(runner)
            _check_weights(dict(_unwrapped(runner.model).named_parameters()), runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Look at what is pending, and at the weights that are saved."""
        self.look(runner)
        _check_weights(checkpoint['state_dict'], runner)

    def look(self, runner: Runner) -> None:
        """Look at the figures of all steps since the last time.

        Raises:
            FloatingPointError: If a loss of one is NaN or infinite.
        """
        steps = read_figures(self.pending)
        self.pending.clear()
        model = _unwrapped(runner.model)
        for figures in steps:
            if not math.isfinite(figures.get('loss', 0.0)):
                raise FloatingPointError(_not_finite(figures, model, runner))
        found = [figures['teacher_top1'] for figures in steps if 'teacher_top1' in figures]
        wanted = min(TRIAL_BATCHES, runner.max_iters)
        if len(self.teacher_top1) < wanted and found:
            self.teacher_top1 = (self.teacher_top1 + found)[:wanted]
            if len(self.teacher_top1) == wanted:
                self._judge(num_classes(model.student))

    def _judge(self, classes: int | None) -> None:
        top1 = statistics.fmean(self.teacher_top1)
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


def count_samples(dataset: Any) -> int:
    """Return how many samples a dataset has, whose ``sample_idx`` are the numbers below that.

    Raises:
        ValueError: If it repeats or joins others, whose samples carry the indices that they have
            there.
    """
    wraps = hasattr(dataset, 'dataset') or hasattr(dataset, 'datasets')
    if wraps and not isinstance(dataset, ViewDataset):
        raise ValueError(
            f'a loss remembers each image by its sample_idx, but those of {type(dataset).__name__} '
            "are of the data sets in it: wrap it as dict(type='ViewDataset', dataset=...)"
        )
    return len(dataset)


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


def _without_wrapper(state: dict) -> dict[str, Tensor]:
    return {k.removeprefix('module.'): v for k, v in state.items() if isinstance(v, Tensor)}


def _unwrapped(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model


def _check_weights(weights: dict[str, Tensor], runner: Runner) -> None:
    """Refuse to go on with weights that are no numbers, reading from their device once."""
    names = [name for name, value in weights.items() if value.is_floating_point()]
    if not names:
        return
    finite = torch.stack([weights[name].isfinite().all() for name in names]).tolist()
    if not all(finite):
        raise FloatingPointError(
            f'{names[finite.index(False)]} is NaN or infinite in iteration {runner.iter + 1} '
            f'(epoch {runner.epoch + 1}): training diverged: {DIVERGED}'
        )


def _not_finite(figures: dict[str, Any], model: nn.Module, runner: Runner) -> str:
    """Say what was not finite in a step: logits where a distiller has noticed, else losses."""
    student, teacher = getattr(model, 'finite', torch.ones(2, dtype=torch.bool)).tolist()
    losses = [name for name in figures if name != 'loss' and 'loss' in name]
    names = [name for name in losses if not math.isfinite(figures[name])]
    if names != losses:  # logits that are not finite spoil every loss of them: these came later
        student = True
    if student and teacher:
        what = f'{", ".join(names) or "the loss"} is'
    else:
        sides = ["the student's"] * (not student) + ["the teacher's"] * (not teacher)
        what = f'{"both " * (len(sides) == 2)}{" and ".join(sides)} logits are'
    hint = f'training diverged: {DIVERGED}'
    if not hasattr(model, 'losses'):
        hint = 'training diverged: a lower learning rate may help'
    if student and not teacher:
        hint = 'look at its checkpoint and its normalisation'
    first = figures['iter']
    epoch = runner.epoch + 1
    return f'{what} NaN or infinite in iteration {first} (epoch {epoch}): {hint}'
