"""What a logit loss sees of a sample: two target margins and the non-target divergence."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def decompose(
    student_logits: Tensor, teacher_logits: Tensor, target: Tensor, temperature: float = 1.0
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
    teacher gets no gradient, and there is no second derivative.

    Args:
        student_logits: (N, C), floating point, finite; C of at least 2. With two classes there is
            one non-target class and the divergence is 0.
        teacher_logits: (N, C), floating point, finite.
        target: (N,) int64 class indices in [0, C).
        temperature: What the logits are divided by, above 0.

    Returns:
        student_margin, teacher_margin and nontarget_kl, each (N,).

    Examples:
        >>> student, teacher = torch.tensor([[2., 1., 0.]]), torch.tensor([[3., 1., 1.]])
        >>> m_s, m_t, d = decompose(student, teacher, torch.tensor([0]))
        >>> torch.allclose(m_s.sigmoid(), student.softmax(1)[:, 0])
        True
    """
    with torch.autocast(student_logits.device.type, enabled=False):
        return _Decomposition.apply(student_logits, teacher_logits, target, temperature)


class _Decomposition(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        student_logits: Tensor,
        teacher_logits: Tensor,
        target: Tensor,
        temperature: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        index = target.unsqueeze(1)
        student_margin, student, student_exp, student_sum = _margin(
            student_logits, index, temperature
        )
        teacher_margin, teacher, teacher_exp, teacher_sum = _margin(
            teacher_logits, index, temperature
        )
        # sum of qT log(qT / qS), with q = exp / sum left undivided: log q = shifted - log(sum)
        cross = torch.linalg.vecdot(teacher_exp, teacher.sub_(student))
        nontarget_kl = cross / teacher_sum + student_sum.log() - teacher_sum.log()

        ctx.save_for_backward(student_exp, student_sum, teacher_exp, teacher_sum, index)
        ctx.temperature, ctx.dtype = temperature, student_logits.dtype
        ctx.mark_non_differentiable(teacher_margin)
        return student_margin, teacher_margin, nontarget_kl

    @staticmethod
    @once_differentiable
    def backward(
        ctx: torch.autograd.function.FunctionCtx,
        grad_margin: Tensor,
        _: Tensor,
        grad_kl: Tensor,
    ) -> tuple[Tensor, None, None, None]:
        student_exp, student_sum, teacher_exp, teacher_sum, index = ctx.saved_tensors
        grad_margin, grad_kl = grad_margin / ctx.temperature, grad_kl / ctx.temperature
        grad = student_exp * ((grad_kl - grad_margin) / student_sum).unsqueeze(1)
        grad.addcmul_(teacher_exp, (grad_kl / teacher_sum).unsqueeze(1), value=-1)
        grad.scatter_(1, index, grad_margin.unsqueeze(1))
        return grad.to(ctx.dtype), None, None, None


def _margin(logits: Tensor, index: Tensor, temperature: float) -> tuple[Tensor, ...]:
    """Return one network's margin, its non-target logits less their maximum, their exp and its sum.

    At the target the shifted logit is 0 and its exp 0, so that sums over all classes are sums
    over the non-target ones.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
    target_logit = logits.gather(1, index)
    shifted = logits.scatter_(1, index, -torch.inf)
    maximum = shifted.amax(1, keepdim=True)
    exp = shifted.sub_(maximum).exp()
    total = exp.sum(1)
    margin = (target_logit - maximum).squeeze(1) - total.log()
    return margin, shifted.scatter_(1, index, 0.0), exp, total
