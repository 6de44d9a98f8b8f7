"""Adaptive explicit knowledge transfer, and its baselines, on the MMEngine stack."""

from .compatibility import check_stack
from .version import __version__

check_stack()

from .silence import silence_stack  # noqa: E402

silence_stack()

from . import recipes, safe_yaml  # noqa: E402, F401  for configs from aekt_mm::, and in YAML

__all__ = ['__version__']
