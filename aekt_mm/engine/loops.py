"""Training loops with exact resume."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, ValLoop
from mmpretrain.models.heads import ClsHead
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Sampler

from aekt_mm.datasets import WholeBatches
from aekt_mm.registry import LOOPS
from aekt_mm.structures import view_key

from .captured_step import CapturedStep, keep_gradient_norm, take_step


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """MMEngine's loop by epochs, exact after a resume.

    Every checkpoint notes how many batches of its epoch are done. A run that continues at it begins
    with the next one: samplers give the rest of the epoch, and nothing that was done is loaded.
    What a network draws at random in a step (dropout, stochastic depth) follows from the seed, the
    iteration and the rank. With a :class:`~aekt_mm.datasets.ViewSampler`, which says for
    augmentation what this says for the network, a run that was killed anywhere ends bit for bit as
    one that was not. ``tools/train.py`` takes it for every config by epochs.

    A checkpoint of the end of an epoch is from before the epoch's validation, and so a run that
    continues at it begins with that, where it is due: no figure is missing and no best one is
    forgotten.

    A data set that is held in memory is indexed where the model is, see
    :class:`~aekt_mm.datasets.WholeBatches`, and not through the dataloader.

    Args:
        *args: As MMEngine's.
        capture: Whether to run each step as one CUDA graph, see
            ``aekt_mm.engine.captured_step``.
        **kwargs: As MMEngine's.

    Raises:
        ValueError: If there is no batch, or a step is to be captured and can't be. On a resume in
            the middle of an epoch that can't be continued: epochs had another number of batches, it
            was not noted how many are done, or the sampler has no order to go on in.
    """

    def __init__(self, *args, capture: bool = False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        check_batches(self.dataloader)  # before schedules are laid over them
        self.capture = capture

    def run(self) -> nn.Module:
        """Train, from where a checkpoint was saved if the run resumes."""
        self._done = self._batches_done() if self.runner._resume else 0
        self._start()
        self.runner.call_hook('before_train')
        if self._epoch > 0 and self._done == 0:
            self._validate()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate()
        self.runner.call_hook('after_train')
        return self.runner.model

    def _start(self) -> None:
        """Put data and step where the model is."""
        model, optim_wrapper = self.runner.model, self.runner.optim_wrapper
        device = next(model.parameters()).device
        self._whole = None
        if WholeBatches.serves(self.dataloader):
            self._whole = WholeBatches(self.dataloader, device)
        keep_gradient_norm(optim_wrapper)
        self._step: Any = partial(take_step, model, optim_wrapper)
        if self.capture:
            if self._whole is None or self._whole.images.device != device:
                raise ValueError(
                    'a captured step takes the batches of an ArrayDataset that lies on the GPU, '
                    f'but the data set is {type(self.dataloader.dataset).__name__}: train without '
                    '--capture'
                )
            self._step = CapturedStep(model, optim_wrapper)

    def _validate(self) -> None:
        """Validate, if it is due after this epoch."""
        self._decide_current_val_interval()
        due = self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs
        if self.runner.val_loop is not None and due and self._epoch >= self.val_begin:
            self.runner.val_loop.run()

    def run_epoch(self) -> None:
        """Iterate one epoch, or what is left of it."""
        first, self._done = self._done, 0
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        if self.capture and _follows_epochs(self.runner.model):
            self._step.forget()
        if self._whole is not None:
            for index, data in enumerate(self._whole.starting_at(first), first):
                self.run_iter(index, data)
        else:
            with _from_batch(self.dataloader, first) as batches:
                for index, data in enumerate(batches, first):
                    self.run_iter(index, data)
        self._note(0)  # before the hooks that save at the end of an epoch
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Take a step."""
        self._note(idx + 1)
        _seed_step(self.runner.seed, self._iter)
        batch = dict(batch_idx=idx, data_batch=data_batch)
        self.runner.call_hook('before_train_iter', **batch)
        self.runner.call_hook('after_train_iter', **batch, outputs=self._step(data_batch))
        self._iter += 1

    def _note(self, done: int) -> None:
        """Note where the epoch is: message hubs are saved and loaded with checkpoints."""
        self.runner.message_hub.update_info('epoch_position', [done, len(self.dataloader)])

    def _batches_done(self) -> int:
        length = len(self.dataloader)
        noted = self.runner.message_hub.runtime_info.get('epoch_position')
        # what other loops save says it only where an epoch is complete
        done, before = noted or (self._iter - self._epoch * length, length)
        if before == length and (noted or done == 0):
            return done
        if noted and done == 0:
            print_log(
                f'Epochs had {before} batches and now have {length}, since the data, the batch '
                'size or the number of processes are others: the run does not end as it would have',
                'current',
                level=30,
            )
            return 0
        raise ValueError(
            f'the checkpoint was saved in the middle of epoch {self._epoch + 1} '
            + (
                f'(after {done} of {before} batches), but epochs now have {length}'
                if noted
                else 'by a loop that does not note where'
            )
            + ': resume with the batch size and the number of processes it was saved with, or at '
            'the checkpoint of an epoch'
        )


@LOOPS.register_module()
class ResumableIterLoop(IterBasedTrainLoop):
    """MMEngine's loop by iterations, exact after a resume with a network that draws at random.

    MMEngine passes over the batches that were done; what the network draws in a step follows, as in
    :class:`ResumableEpochLoop`, from the seed, the iteration and the rank. ``tools/train.py`` takes
    it for every config by iterations.
    """

    def run(self) -> nn.Module:
        """Train, from where a checkpoint was saved if the run resumes."""
        keep_gradient_norm(self.runner.optim_wrapper)
        return super().run()

    def run_iter(self, data_batch: dict) -> None:
        """Take a step."""
        _seed_step(self.runner.seed, self._iter)
        batch = dict(batch_idx=self._iter, data_batch=data_batch)
        self.runner.call_hook('before_train_iter', **batch)
        figures = take_step(self.runner.model, self.runner.optim_wrapper, data_batch)
        self.runner.call_hook('after_train_iter', **batch, outputs=figures)
        self._iter += 1


@LOOPS.register_module()
class WholeBatchValLoop(ValLoop):
    """MMEngine's validation, which reads a batch's predictions from the device at once.

    Metrics read them sample by sample, and each time wait for the GPU: 20,000 times for CIFAR's
    test set. Where the data set is one in memory and the head predicts as mmpretrain's do, the
    metrics get the same numbers on the CPU. Anything else is validated as MMEngine does it.
    ``tools/train.py`` and ``tools/test.py`` take it.
    """

    _whole: WholeBatches | None = None

    def run(self) -> dict[str, float]:
        """Validate, and return the metrics by name."""
        model = _unwrapped(self.runner.model)
        if self.fp16 or not WholeBatches.serves(self.dataloader) or not _predicts_plainly(model):
            return super().run()
        if self._whole is None:
            self._whole = WholeBatches(self.dataloader, next(model.parameters()).device)
        self.runner.call_hook('before_val')
        self.runner.call_hook('before_val_epoch')
        model.eval()
        for index, data in enumerate(self._whole.starting_at(0)):
            self._run_batch(index, data, model)
        metrics = self.evaluator.evaluate(len(self.dataloader.dataset))
        self.runner.call_hook('after_val_epoch', metrics=metrics)
        self.runner.call_hook('after_val')
        return metrics

    @torch.no_grad()
    def _run_batch(self, index: int, data: dict, model: Any) -> None:
        self.runner.call_hook('before_val_iter', batch_idx=index, data_batch=data)
        prepared = model.data_preprocessor(data, False)
        scores = model(prepared['inputs'], mode='tensor').softmax(1)
        labels = prepared['data_samples'].gt_label
        predictions = [
            dict(pred_score=score, pred_label=label, gt_label=truth)
            for score, label, truth in zip(
                *(part.cpu().unbind() for part in (scores, scores.argmax(1, True), labels[:, None]))
            )
        ]
        self.evaluator.process(predictions, data)
        hooks = dict(batch_idx=index, data_batch=data, outputs=predictions)
        self.runner.call_hook('after_val_iter', **hooks)


def _unwrapped(model: Any) -> nn.Module:
    return model.module if is_model_wrapper(model) else model


def _predicts_plainly(model: nn.Module) -> bool:
    """Return whether a classifier's predictions are the softmax of what it returns."""
    head = getattr(getattr(model, 'student', model), 'head', None)
    return (
        isinstance(head, ClsHead)
        and type(head).predict is ClsHead.predict
        and type(head)._get_predictions is ClsHead._get_predictions
    )


def check_batches(loader: DataLoader) -> None:
    """Check that a loader gives any batch.

    Raises:
        ValueError: If the data are fewer than a batch, and such a one is dropped.
    """
    dataset: Any = loader.dataset
    if len(loader) == 0:
        raise ValueError(
            f'{len(dataset)} training images give no batch of {loader.batch_size}: '
            'lower train_dataloader.batch_size, or set its drop_last=False'
        )


@contextmanager
def _from_batch(loader: DataLoader, first: int) -> Iterator[DataLoader]:
    """Let a dataloader begin with another batch than the first, once."""
    batches = loader.batch_sampler
    if first == 0:
        yield loader
        return
    if type(batches) is not BatchSampler:
        raise ValueError(
            f'a batch sampler {type(batches).__name__} can not go on in the middle of an epoch: '
            'resume at the checkpoint of an epoch'
        )
    whole, batches.sampler = batches.sampler, _Rest(batches.sampler, first * batches.batch_size)
    try:
        yield loader
    finally:
        batches.sampler = whole


class _Rest(Sampler):
    """What a sampler gives from a position on; as long as the whole."""

    def __init__(self, sampler: Any, start: int) -> None:
        self.sampler, self.start = sampler, start

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator:
        return islice(self.sampler, self.start, None)


def _follows_epochs(model: nn.Module) -> bool:
    """Return whether a part of the losses has other constants in each epoch."""
    return any(hasattr(part, 'set_epoch') for part in model.modules())


def _seed_step(seed: int, step: int) -> None:
    key = view_key(seed, step, get_rank())
    random.seed(key)
    np.random.seed(key % 2**32)
    # not torch.manual_seed, which where there is no GPU formats a stack trace each time: 0.3 ms
    torch.default_generator.manual_seed(key % 2**63)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(key % 2**63)
