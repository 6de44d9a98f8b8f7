"""Hooks of distillation runs."""

from .distill_check_hook import DistillCheckHook
from .distill_warmup_hook import DistillWarmupHook
from .figures_hook import FiguresHook
from .loss_epoch_hook import LossEpochHook
from .progress_hook import ProgressHook

__all__ = ['DistillCheckHook', 'DistillWarmupHook', 'FiguresHook', 'LossEpochHook', 'ProgressHook']
