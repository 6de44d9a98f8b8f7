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
    :class:`~aekt_mm.engine.hooks.LossEpochHook` tells it the epoch; before, the strength is 1.

    Args:
        low: The lowest temperature, above 0.
        span: By how much the temperature can be higher.
        share: In which part of the run the strength rises, above 0 and at most 1, whole epochs of
            it and at least one. By default ten epochs of 240, as in the authors' script.
        epochs: In which epoch, counted from 1, the strength reaches 1, in place of the share.

    Raises:
        ValueError: If ``share`` or ``epochs`` is out of its range.

    Examples:
        >>> temperature = CurriculumTemperature()
        >>> temperature.set_epoch(5, 240)
        >>> temperature()
        tensor(15.6212, grad_fn=<AddBackward0>)
    """

    strength: Tensor

    def __init__(
        self,
        low: float = 1.0,
        span: float = 20.0,
        share: float = 10 / 240,
        epochs: int | None = None,
    ) -> None:
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f'share must be above 0 and at most 1, but is {share!r}')
        if epochs is not None and epochs < 1:
            raise ValueError(f'epochs must be at least 1, but is {epochs!r}')
        self.low, self.span, self.share, self.epochs = low, span, share, epochs
        self.theta = nn.Parameter(torch.ones(()))
        # a tensor, so that a compiled step need not know it
        self.register_buffer('strength', torch.ones(()), persistent=False)

    def set_epoch(self, epoch: int, max_epochs: int) -> None:
        """Set the strength for an epoch, counted from 1, of a run of ``max_epochs``."""
        done = min(epoch / (self.epochs or epochs_of_share(self.share, max_epochs)), 1.0)
        self.strength.fill_((1 - math.cos(math.pi * done)) / 2)

    def forward(self) -> Tensor:
        """Return the temperature, a tensor of no dimensions."""
        # at theta itself, whatever the strength, which the gradient is multiplied by
        reversed_theta = self.theta.detach().lerp(self.theta, -self.strength)
        return self.low + self.span * reversed_theta.sigmoid()


def epochs_of_share(share: float, max_epochs: int) -> int:
    """Return how many whole epochs a share of a run is, at least 1.

    Examples:
        >>> [epochs_of_share(10 / 240, epochs) for epochs in (240, 100, 8)]
        [10, 4, 1]
    """
    return max(1, int(round(share * max_epochs, 6)))
