"""KL divergence of the full distributions, sample by sample."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def divergence(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float | Tensor = 1.0,
    weight: float | Tensor = 1.0,
) -> Tensor:
    r"""Return :math:`w\, KL(p^T \| p^S)` of each sample.

    With :math:`p` the distributions of the logits divided by the temperature :math:`\tau`, the
    gradient in the student's logits is :math:`\frac{w}{\tau} (p^S - p^T)`: one difference is kept
    for it, where autograd would go back through each softmax. There is no second derivative. A
    temperature that is a tensor gets its gradient, through both networks.

    Args:
        student_logits: (N, C), float32 or wider, finite.
        teacher_logits: (N, C), as the student's.
        temperature: What the logits are divided by, above 0; a number, or a tensor of no
            dimensions.
        weight: :math:`w`, a number or of each sample, (N,), without gradient. Where the temperature
            is a tensor, one that comes of it gets its gradient.

    Returns:
        (N,), 0 where the networks agree.

    Examples:
        >>> divergence(torch.tensor([[1., 2.]]), torch.tensor([[1., 2.]]))
        tensor([0.])
    """
    if isinstance(temperature, Tensor):
        return weight * _Divergence.apply(
            student_logits / temperature, teacher_logits / temperature, 1.0, 1.0
        )
    return _Divergence.apply(student_logits, teacher_logits, temperature, weight)


class _Divergence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        student_logits: Tensor,
        teacher_logits: Tensor,
        temperature: float,
        weight: float,
    ) -> Tensor:
        if temperature != 1:
            student_logits = student_logits / temperature
            teacher_logits = teacher_logits / temperature
        # a softmax takes no longer than the exponential of a log_softmax
        teacher = teacher_logits.softmax(1)
        log_ratio = teacher_logits.log_softmax(1).sub_(student_logits.log_softmax(1))
        kl = torch.linalg.vecdot(teacher, log_ratio)
        slopes: list[Tensor | None] = [None, None]
        if ctx.needs_input_grad[0]:
            slopes[0] = student_logits.softmax(1).sub_(teacher)
        if ctx.needs_input_grad[1]:  # by the temperature, which learns
            slopes[1] = log_ratio.sub_(kl.unsqueeze(1)).mul_(teacher)
        ctx.save_for_backward(*slopes)
        ctx.factor = weight / temperature
        return kl.mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        grad = (grad * ctx.factor).unsqueeze(1)
        student, teacher = (None if slope is None else slope * grad for slope in ctx.saved_tensors)
        return student, teacher, None, None
