"""A training step as one CUDA graph."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from aekt_mm.structures import BatchSample

from .mixed_precision import BFloat16OptimWrapper

#: Optimizers that can read their learning rate from the device.
OPTIMIZERS = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)

#: Steps that run eagerly before the graph is captured: cuDNN chooses its algorithms in them, and
#: the optimizer makes its state.
EAGER_STEPS = 3


def take_step(model: Any, optim_wrapper: OptimWrapper, data: dict) -> dict[str, Tensor]:
    """Take a training step, without reading anything from the device.

    Args:
        model: In training mode, perhaps distributed.
        optim_wrapper: Of its optimizer, see :func:`keep_gradient_norm`.
        data: A batch.

    Returns:
        The losses and statistics by name, and the gradient's norm where it is clipped.
    """
    figures = model.train_step(data, optim_wrapper=optim_wrapper)
    norm = optim_wrapper.__dict__.pop('kept_norm', None)
    return figures if norm is None else {**figures, optim_wrapper.grad_name: norm}


def keep_gradient_norm(optim_wrapper: OptimWrapper) -> None:
    """Let an optimizer wrapper keep the norm of a clipped gradient for :func:`take_step`.

    MMEngine's reads it in every step, which waits for the device.
    """

    def clip() -> None:
        groups = optim_wrapper.optimizer.param_groups
        parameters = [p for group in groups for p in group['params'] if p.grad is not None]
        if parameters:
            norm = optim_wrapper.clip_func(parameters, **optim_wrapper.clip_grad_kwargs)
            optim_wrapper.kept_norm = None if norm is None else norm.detach()

    if isinstance(optim_wrapper, OptimWrapper):
        optim_wrapper._clip_grad = clip


class CapturedStep:
    """A model's training step, captured as a CUDA graph and replayed.

    A small network's step is a few hundred kernels of some microseconds each. To launch them one by
    one takes Python longer than they run; a graph launches all at once. Augmentation, both
    networks, the losses, the gradient, clipping and the optimizer are in it. Steps of another shape
    than the captured one, such as a last, smaller batch, run eagerly, and so do the first three.

    Figures differ from an eager run's in rounding, since the optimizer is torch's fused one. A
    captured run that is resumed ends bit for bit as one that was not.

    Args:
        model: On a GPU, not distributed; its preprocessor mixes no images.
        optim_wrapper: Of SGD, Adam or AdamW, in float32 or bfloat16, without accumulation.

    Raises:
        ValueError: If one of them is something else.
    """

    def __init__(self, model: nn.Module, optim_wrapper: OptimWrapper) -> None:
        _check(model, optim_wrapper)
        self.model, self.optim_wrapper = model, optim_wrapper
        self.prepare = getattr(model, 'prepare', lambda data_samples: None)
        self.stream = torch.cuda.Stream()
        self.eager_steps = EAGER_STEPS
        self.graph: torch.cuda.CUDAGraph | None = None
        # a number would become a constant of the graph
        groups = optim_wrapper.optimizer.param_groups
        device = next(model.parameters()).device
        self.rates = [torch.tensor(0.0, device=device) for _ in groups]
        self.set_rates = [float('nan')] * len(groups)
        for group in groups:
            group |= dict(fused=True, foreach=False)
            if 'capturable' in group:
                group['capturable'] = True
        for state in optim_wrapper.optimizer.state.values():  # of a run that resumes
            if 'step' in state:
                state['step'] = torch.as_tensor(state['step'], device=device)

    def __call__(self, data: dict) -> dict[str, Tensor]:
        """Take a step.

        Args:
            data: A batch of an ``ArrayDataset`` on the GPU.

        Returns:
            The losses and statistics by name, scalars on the GPU.
        """
        self.prepare(data['data_samples'])
        self._write_rates()
        if self.eager_steps > 0:
            self.eager_steps -= 1
            return self._on_own_stream(data)
        if self.graph is None:
            self._capture(data)
        if len(data['inputs']) != len(self.batch['inputs']):
            return self._on_own_stream(data)
        if self._constants() != self.constants:
            raise ValueError(
                'a captured step follows a schedule of the learning rate alone, but '
                f'{self._constants()} of the optimizer were {self.constants}: train without '
                '--capture'
            )
        _copy(data, self.batch)
        assert self.graph is not None  # captured above
        self.graph.replay()
        self.optim_wrapper._inner_count += 1  # what MMEngine counts in a step
        return dict(zip(self.names, self.figures.clone().unbind()))

    def forget(self) -> None:
        """Capture anew before the next step, since a constant of the graph changes."""
        self.graph = None

    def _on_own_stream(self, data: dict) -> dict[str, Tensor]:
        """Run eagerly on the stream that captures, where autograd is to meet its own nodes."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with self._rates_on_device(), torch.cuda.stream(self.stream):
            figures = take_step(self.model, self.optim_wrapper, data)
        torch.cuda.current_stream().wait_stream(self.stream)
        return figures

    def _capture(self, data: dict) -> None:
        samples = data['data_samples'].clone()
        for name, value in samples.items():
            samples.set_field(value.clone(), name)
        self.batch = dict(inputs=data['inputs'].clone(), data_samples=samples)
        self.constants = self._constants()
        self.graph = torch.cuda.CUDAGraph()
        count = self.optim_wrapper._inner_count
        with self._rates_on_device(), torch.cuda.graph(self.graph, stream=self.stream):
            figures = take_step(self.model, self.optim_wrapper, self.batch)
            self.figures = torch.stack([value.detach().float() for value in figures.values()])
        self.names = list(figures)
        self.optim_wrapper._inner_count = count  # to capture is no step

    @contextmanager
    def _rates_on_device(self) -> Iterator[None]:
        groups = self.optim_wrapper.optimizer.param_groups
        numbers = [group['lr'] for group in groups]
        for group, rate in zip(groups, self.rates):
            group['lr'] = rate
        try:
            yield
        finally:
            for group, number in zip(groups, numbers):
                group['lr'] = number

    def _write_rates(self) -> None:
        """Write the schedule's learning rates to where the graph reads them."""
        groups = self.optim_wrapper.optimizer.param_groups
        for k, group in enumerate(groups):
            if group['lr'] != self.set_rates[k]:
                self.rates[k].fill_(group['lr'])
                self.set_rates[k] = group['lr']

    def _constants(self) -> list[tuple]:
        """Return the optimizer's options that are constants of the graph."""
        names = ('momentum', 'weight_decay', 'betas', 'eps')
        groups = self.optim_wrapper.optimizer.param_groups
        return [tuple(group.get(name) for name in names) for group in groups]


def _check(model: nn.Module, optim_wrapper: OptimWrapper) -> None:
    reason = None
    preprocessor = getattr(model, 'data_preprocessor', None)
    optimizer = getattr(optim_wrapper, 'optimizer', None)
    if is_model_wrapper(model):
        reason = f'runs on one GPU, but the model is a {type(model).__name__}'
    elif not next(model.parameters()).is_cuda:
        reason = 'needs a GPU'
    elif type(optim_wrapper) not in (OptimWrapper, BFloat16OptimWrapper):
        reason = f'is of float32 or bfloat16, but optim_wrapper is a {type(optim_wrapper).__name__}'
    elif optim_wrapper._accumulative_counts != 1:
        reason = 'is a whole step, but optim_wrapper.accumulative_counts is not 1'
    elif type(optimizer) not in OPTIMIZERS:
        known = ', '.join(kind.__name__ for kind in OPTIMIZERS)
        reason = f'knows {known}, but the optimizer is {type(optimizer).__name__}'
    elif getattr(preprocessor, 'batch_augments', None) is not None:
        reason = 'mixes no images, but data_preprocessor.batch_augments is set'
    if reason is not None:
        raise ValueError(f'a captured step {reason}: train without --capture')


def _copy(data: dict, static: dict) -> None:
    static['inputs'].copy_(data['inputs'])
    samples: BatchSample = data['data_samples']
    for name, value in static['data_samples'].items():
        value.copy_(samples.get(name))
