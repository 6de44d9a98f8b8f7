"""Running distillation: hooks, launching, publishing."""

from .hooks import *  # noqa: F403
from .loops import ResumableEpochLoop, ResumableIterLoop  # noqa: F401
