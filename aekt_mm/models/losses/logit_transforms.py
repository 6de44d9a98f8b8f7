"""Transforms of both networks' logits before a loss."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


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
        return _Standardisation.apply(logits, self.eps)


class _Standardisation(torch.autograd.Function):
    """Its gradient is a few operations, where the formula's would be a dozen."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, eps: float) -> Tensor:
        centred = logits - logits.mean(1, keepdim=True)
        # a tenth of the time of torch.std, which takes number by number; squares in float64, too
        norm = torch.linalg.vector_norm(centred, dim=1, keepdim=True, dtype=torch.float64)
        std = (norm / math.sqrt(logits.shape[1] - 1)).to(logits.dtype)
        standardised = centred.div_(std + eps)
        ctx.save_for_backward(standardised, std)
        ctx.eps = eps
        return standardised

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        standardised, std = ctx.saved_tensors
        divisor = std + ctx.eps
        # through the deviation, of which logits that are all the same have none
        share = torch.linalg.vecdot(grad, standardised).unsqueeze(1) * divisor
        share.div_(std.clamp(min=torch.finfo(std.dtype).tiny)).div_(standardised.shape[1] - 1)
        through = grad - grad.mean(1, keepdim=True)
        return through.addcmul_(standardised, share, value=-1).div_(divisor), None
