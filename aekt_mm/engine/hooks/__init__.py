"""Hooks of distillation runs."""

from .distill_check_hook import DistillCheckHook
from .distill_warmup_hook import DistillWarmupHook

__all__ = ['DistillCheckHook', 'DistillWarmupHook']
