"""Hooks of distillation runs."""

from .chance_hook import ChanceHook
from .distill_check_hook import DistillCheckHook
from .distill_warmup_hook import DistillWarmupHook
from .figures_hook import FiguresHook
from .loss_epoch_hook import LossEpochHook
from .progress_hook import ProgressHook
from .resume_hook import ResumeHook

__all__ = [
    'ChanceHook',
    'DistillCheckHook',
    'DistillWarmupHook',
    'FiguresHook',
    'LossEpochHook',
    'ProgressHook',
    'ResumeHook',
]
