"""Running distillation: hooks, launching, publishing."""

from .hooks import *  # noqa: F403
