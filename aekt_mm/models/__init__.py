"""Models: distillers, teachers, losses, connectors, backbones and data preprocessors."""

from .backbones import *  # noqa: F403
from .connectors import *  # noqa: F403
from .data_preprocessors import *  # noqa: F403
from .distillers import *  # noqa: F403
from .losses import *  # noqa: F403
from .teachers import *  # noqa: F403
