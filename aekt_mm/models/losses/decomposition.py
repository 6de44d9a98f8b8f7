"""Decomposition of logits: two target margins and the non-target divergence."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .precision import no_autocast, widened


def decompose(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    temperature: float | Tensor = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Reduce both networks' logits to the three numbers a sample that logit losses are made of.

    With :math:`z` the logits divided by the temperature, :math:`t` the target and
    :math:`r = \log\sum_{i \ne t} e^{z_i}`,

    - the *target margin* is :math:`m = z_t - r`, so that :math:`p_t = \sigma(m)`,
      :math:`\log p_t = \log\sigma(m)` and :math:`\log(1 - p_t) = \log\sigma(-m)`;
    - the *non-target distribution* is :math:`q_i = e^{z_i - r}` for :math:`i \ne t`;
    - the *non-target divergence* is :math:`d = \sum_{i \ne t} q^T_i \log(q^T_i / q^S_i)`.

    This is the decoupling of Zhao et al. (Decoupled Knowledge Distillation, CVPR 2022, eqs. 1-5)
    in a form without a log of a sum that can be zero. With :math:`g_m` and :math:`g_d` the
    gradients with respect to :math:`m^S` and :math:`d`, that of the tempered student logits is

    .. math:: \partial z_t = g_m, \qquad
              \partial z_i = (g_d - g_m) q^S_i - g_d q^T_i \quad (i \ne t).

    The computation runs in float32, or wider where the logits are, also under autocast. The
    teacher's logits get no gradient, and there is no second derivative. A temperature that is a
    tensor gets its gradient, through both networks where it is both networks'.

    Args:
        student_logits: (N, C), floating point, finite; C of at least 2. With two classes there is
            one non-target class and the divergence is 0.
        teacher_logits: (N, C), floating point, finite.
        target: (N,) int64 class indices in [0, C).
        temperature: What the logits are divided by, above 0; a number, or a tensor that
            broadcasts with the logits.

    Returns:
        student_margin, teacher_margin and nontarget_kl, each (N,).

    Examples:
        >>> student, teacher = torch.tensor([[2., 1., 0.]]), torch.tensor([[3., 1., 1.]])
        >>> m_s, m_t, d = decompose(student, teacher, torch.tensor([0]))
        >>> torch.allclose(m_s.sigmoid(), student.softmax(1)[:, 0])
        True
    """
    student_logits = widened(student_logits)
    teacher_logits = widened(teacher_logits.detach())
    with no_autocast(student_logits):
        if isinstance(temperature, Tensor):
            student_logits = student_logits / temperature
            teacher_logits = teacher_logits / temperature
            temperature = 1.0
        return _Decomposition.apply(student_logits, teacher_logits, target, temperature)


@torch.no_grad()
def nontarget_entropy(logits: Tensor, target: Tensor, temperature: float = 1.0) -> Tensor:
    r"""Return :math:`-\sum_{i \ne t} q_i \log q_i` of the tempered non-target distribution.

    Added to the non-target divergence it makes the cross-entropy of the two distributions.

    Args:
        logits: (N, C), floating point; C of at least 2.
        target: (N,) int64.
        temperature: What the logits are divided by, above 0.

    Returns:
        (N,), without gradient.

    Examples:
        >>> nontarget_entropy(torch.tensor([[9., 1., 1.]]), torch.tensor([0])).exp()
        tensor([2.])
    """
    _, shifted, q, log_scale = _nontarget(widened(logits) / temperature, target.unsqueeze(1))
    return -torch.linalg.vecdot(q, shifted) - log_scale


class _Decomposition(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        student_logits: Tensor,
        teacher_logits: Tensor,
        target: Tensor,
        temperature: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        # both networks at once: half the operations
        logits = torch.stack((student_logits, teacher_logits)).div_(temperature)
        index = target.unsqueeze(1)
        margins, shifted, q, log_scale = _nontarget(logits, index.expand(2, -1, 1))
        difference = shifted[1] - shifted[0]
        cross = torch.linalg.vecdot(q[1], difference)
        nontarget_kl = cross + log_scale[1] - log_scale[0]

        saved = [q, index]
        if ctx.needs_input_grad[1]:  # by its temperature, which learns
            saved += [difference, cross]
        ctx.save_for_backward(*saved)
        ctx.temperature = temperature
        student_margin, teacher_margin = margins.unbind()
        if not ctx.needs_input_grad[1]:
            ctx.mark_non_differentiable(teacher_margin)
        return student_margin, teacher_margin, nontarget_kl

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,
        grad_margin: Tensor,
        grad_teacher_margin: Tensor,
        grad_kl: Tensor,
    ) -> tuple[Tensor, Tensor | None, None, None]:
        q, index, *teacher = ctx.saved_tensors
        student_q, teacher_q = q.unbind()
        grad_teacher = None
        if teacher:
            difference, cross = teacher
            grad_teacher = (difference - cross.unsqueeze(1)).mul_(grad_kl.unsqueeze(1))
            grad_teacher.sub_(grad_teacher_margin.unsqueeze(1)).mul_(teacher_q)
            grad_teacher.scatter_(1, index, grad_teacher_margin.unsqueeze(1))
            grad_teacher.div_(ctx.temperature)
        grad_margin, grad_kl = grad_margin / ctx.temperature, grad_kl / ctx.temperature
        grad = student_q * (grad_kl - grad_margin).unsqueeze(1)
        grad.addcmul_(teacher_q, grad_kl.unsqueeze(1), value=-1)
        grad.scatter_(1, index, grad_margin.unsqueeze(1))
        return grad, grad_teacher, None, None


def _nontarget(logits: Tensor, index: Tensor) -> tuple[Tensor, ...]:
    """Return margins and non-target distributions: logits less their maximum, q, and a scale.

    log q is these logits plus the scale, which is minus the log of the sum of their exponentials.
    The target has the share 0 in q and a finite logit, so that sums over all classes of q times
    logits are sums over the non-target ones.

    Args:
        logits: (..., N, C), float32 or wider; they are overwritten.
        index: Of the target, (..., N, 1).
    """
    target_logit = logits.gather(-1, index).squeeze(-1)
    logits.scatter_(-1, index, torch.finfo(logits.dtype).min / 2)
    maximum = logits.amax(-1)
    shifted = logits.sub_(maximum.unsqueeze(-1))
    q = shifted.softmax(-1)
    log_scale = q.amax(-1).log()
    return target_logit - maximum + log_scale, shifted, q, log_scale
