"""Connectors: what stands between a student's logits and the tasks that read them."""

from aekt_mm.registry import MODELS

from .task_serialization_fc import TaskSerializationFC

MODELS.register_module(module=TaskSerializationFC)

__all__ = ['TaskSerializationFC']
