"""A temperature that learns to make distillation harder."""

import math

import torch
from torch import Tensor, nn


class CurriculumTemperature(nn.Module):
    r"""The global temperature of CTKD (Li et al., AAAI 2023).

    `arXiv 2211.16231 <https://arxiv.org/abs/2211.16231>`_

    .. math:: \tau = \tau_{low} + \tau_{span}\, \sigma(\theta)

    :math:`\theta`, the one parameter, ascends the loss that the student descends: its gradient is
    reversed, times a strength that rises from 0 to 1 as half a cosine over the first epochs. A loss
    takes it as ``temperature=dict(type='CurriculumTemperature')``, and
    :class:`~aekt_mm.engine.hooks.LossEpochHook` tells it the epoch; without, the strength is 1.

    Args:
        low: The lowest temperature, above 0.
        span: By how much the temperature can be higher.
        epochs: In which epoch, counted from 1, the strength reaches 1.

    Examples:
        >>> temperature = CurriculumTemperature()
        >>> temperature.set_epoch(5)
        >>> temperature()
        tensor(15.6212, grad_fn=<AddBackward0>)
    """

    def __init__(self, low: float = 1.0, span: float = 20.0, epochs: int = 10) -> None:
        super().__init__()
        self.low, self.span, self.epochs = low, span, epochs
        self.theta = nn.Parameter(torch.ones(()))
        # a tensor, so that a compiled step need not know it
        self.register_buffer('strength', torch.ones(()), persistent=False)

    def set_epoch(self, epoch: int) -> None:
        """Set the strength for an epoch, counted from 1."""
        share = min(epoch / self.epochs, 1.0)
        self.strength.fill_((1 - math.cos(math.pi * share)) / 2)

    def forward(self) -> Tensor:
        """Return the temperature, a tensor of no dimensions."""
        # at theta itself, whatever the strength, which the gradient is multiplied by
        reversed_theta = self.theta.detach().lerp(self.theta, -self.strength)
        return self.low + self.span * reversed_theta.sigmoid()
