"""Adaptive explicit knowledge transfer, and its baselines, on the MMEngine stack."""

from .compatibility import check_stack
from .version import __version__

check_stack()

__all__ = ['__version__']
