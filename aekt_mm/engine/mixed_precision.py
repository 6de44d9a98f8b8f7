"""Mixed precision: bfloat16 wherever it can be had, or else float16."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.runner.amp import autocast
from torch import nn

from aekt_mm.registry import OPTIM_WRAPPERS, type_name


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Forward passes in bfloat16, weights and optimizer in float32, on a CPU too.

    MMEngine's ``AmpOptimWrapper`` is for GPUs and brings a loss scale, of which bfloat16, with the
    exponents of float32, has no need.

    Args:
        *args: As :class:`mmengine.optim.OptimWrapper`'s.
        **kwargs: As :class:`mmengine.optim.OptimWrapper`'s.

    Examples:
        >>> model = nn.Linear(4, 2)
        >>> wrapper = BFloat16OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
        >>> with wrapper.optim_context(model):
        ...     model(torch.rand(3, 4)).dtype
        torch.bfloat16
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Compute in bfloat16 what is called in this context."""
        # within a CUDA graph nothing may be kept from one step to the next
        capturing = torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
        with (
            super().optim_context(model),
            autocast(dtype=torch.bfloat16, cache_enabled=not capturing),
        ):
            yield


def use_mixed_precision(cfg: Config) -> None:
    """Let a run train in mixed precision: bfloat16, or float16 on a GPU that lacks it.

    Args:
        cfg: Of the run, changed in place.

    Raises:
        ValueError: If the run has an optimizer wrapper whose place this would take.
    """
    wrapper = cfg.setdefault('optim_wrapper', {})
    before = type_name(wrapper) or 'OptimWrapper'
    if get_device() == 'cpu' or torch.cuda.is_bf16_supported(including_emulation=False):
        wrapper.type = 'aekt_mm.BFloat16OptimWrapper'
    else:
        wrapper.type = 'AmpOptimWrapper'
        wrapper.setdefault('loss_scale', 'dynamic')
    plain = ('OptimWrapper', wrapper.type.rpartition('.')[2])
    if before not in plain:
        raise ValueError(
            f'--amp would replace optim_wrapper.type, which is {before!r}: leave --amp out'
        )
