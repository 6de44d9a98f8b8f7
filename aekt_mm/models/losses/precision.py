"""Precision of the losses: float32 or wider, also under autocast."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import overload

import torch
from torch import Tensor


def no_autocast(values: Tensor | Sequence[Tensor]) -> AbstractContextManager:
    """Return a context in which tensors, which share a device, are computed with as they are."""
    device = (values if isinstance(values, Tensor) else values[0]).device.type
    # to enter torch's own costs as much as a softmax of a small batch
    if torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


@overload
def widened(values: Tensor) -> Tensor: ...


@overload
def widened(values: Sequence[Tensor]) -> list[Tensor]: ...


def widened(values: Tensor | Sequence[Tensor]) -> Tensor | list[Tensor]:
    """Return floating-point tensors in float32, or as they are where they are wider."""
    if not isinstance(values, Tensor):
        return [widened(value) for value in values]
    return values.float() if values.dtype.itemsize < 4 else values
