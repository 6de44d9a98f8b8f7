"""Running distillation: hooks, launching, publishing."""

from .hooks import *  # noqa: F403
from .loops import ResumableEpochLoop, ResumableIterLoop  # noqa: F401
from .mixed_precision import BFloat16OptimWrapper  # noqa: F401
