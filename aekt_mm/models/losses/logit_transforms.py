"""What both networks' logits may go through before a loss sees them."""

import torch
from torch import Tensor, nn


class LogitStandardization(nn.Module):
    r"""Standardise each sample's logits (Sun et al., CVPR 2024).

    `arXiv 2403.01427 <https://arxiv.org/abs/2403.01427>`_

    .. math:: z \mapsto \frac{z - \mathrm{mean}(z)}{\mathrm{std}(z) + \epsilon}

    over the classes, so that the student learns how the teacher's logits relate and not how large
    they are. As in the authors' code the standard deviation is the unbiased one and the gradient
    goes through mean and standard deviation. A loss takes it as
    ``transform=dict(type='LogitStandardization')``.

    Args:
        eps: :math:`\epsilon`.

    Examples:
        >>> import torch
        >>> LogitStandardization()(torch.tensor([[1., 2., 3.]]))
        tensor([[-1.0000,  0.0000,  1.0000]])
    """

    def __init__(self, eps: float = 1e-7) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, logits: Tensor) -> Tensor:
        """Map logits (N, C), C of at least 2, to logits (N, C)."""
        std, mean = torch.std_mean(logits, 1, keepdim=True)
        return (logits - mean) / (std + self.eps)
