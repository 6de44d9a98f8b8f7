"""What a logit loss sees of a sample: two target margins and the non-target divergence."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def decompose(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    temperature: float | Tensor = 1.0,
    teacher_temperature: float | Tensor | None = None,
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
        teacher_temperature: What the teacher's are divided by where it is another.

    Returns:
        student_margin, teacher_margin and nontarget_kl, each (N,).

    Examples:
        >>> student, teacher = torch.tensor([[2., 1., 0.]]), torch.tensor([[3., 1., 1.]])
        >>> m_s, m_t, d = decompose(student, teacher, torch.tensor([0]))
        >>> torch.allclose(m_s.sigmoid(), student.softmax(1)[:, 0])
        True
    """
    teacher_temperature = temperature if teacher_temperature is None else teacher_temperature
    teacher_logits = teacher_logits.detach()
    with torch.autocast(student_logits.device.type, enabled=False):
        if isinstance(temperature, Tensor):
            student_logits, temperature = student_logits / temperature, 1.0
        if isinstance(teacher_temperature, Tensor):
            teacher_logits, teacher_temperature = teacher_logits / teacher_temperature, 1.0
        return _Decomposition.apply(
            student_logits, teacher_logits, target, temperature, teacher_temperature
        )


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
    _, shifted, exp, total = _margin(logits, target.unsqueeze(1), temperature)
    return total.log() - torch.linalg.vecdot(exp, shifted) / total


class _Decomposition(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        student_logits: Tensor,
        teacher_logits: Tensor,
        target: Tensor,
        temperature: float,
        teacher_temperature: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        index = target.unsqueeze(1)
        student_margin, student, student_exp, student_sum = _margin(
            student_logits, index, temperature
        )
        teacher_margin, teacher, teacher_exp, teacher_sum = _margin(
            teacher_logits, index, teacher_temperature
        )
        # sum of qT log(qT / qS), with q = exp / sum left undivided: log q = shifted - log(sum)
        difference = teacher.sub_(student)
        cross = torch.linalg.vecdot(teacher_exp, difference)
        nontarget_kl = cross / teacher_sum + student_sum.log() - teacher_sum.log()

        saved = [student_exp, student_sum, teacher_exp, teacher_sum, index]
        if ctx.needs_input_grad[1]:  # by its temperature, which learns
            saved += [difference, cross / teacher_sum]
        else:
            ctx.mark_non_differentiable(teacher_margin)
        ctx.save_for_backward(*saved)
        ctx.temperature, ctx.teacher_temperature = temperature, teacher_temperature
        ctx.dtype = student_logits.dtype
        return student_margin, teacher_margin, nontarget_kl

    @staticmethod
    @once_differentiable
    def backward(
        ctx: torch.autograd.function.FunctionCtx,
        grad_margin: Tensor,
        grad_teacher_margin: Tensor,
        grad_kl: Tensor,
    ) -> tuple[Tensor, Tensor | None, None, None, None]:
        student_exp, student_sum, teacher_exp, teacher_sum, index, *teacher = ctx.saved_tensors
        grad_teacher = None
        if teacher:
            difference, cross = teacher
            grad_teacher = (difference - cross.unsqueeze(1)).mul_(grad_kl.unsqueeze(1))
            grad_teacher.sub_(grad_teacher_margin.unsqueeze(1)).mul_(teacher_exp)
            grad_teacher.div_(teacher_sum.unsqueeze(1) * ctx.teacher_temperature)
            grad_at_target = grad_teacher_margin.unsqueeze(1) / ctx.teacher_temperature
            grad_teacher.scatter_(1, index, grad_at_target)
        grad_margin, grad_kl = grad_margin / ctx.temperature, grad_kl / ctx.temperature
        grad = student_exp * ((grad_kl - grad_margin) / student_sum).unsqueeze(1)
        grad.addcmul_(teacher_exp, (grad_kl / teacher_sum).unsqueeze(1), value=-1)
        grad.scatter_(1, index, grad_margin.unsqueeze(1))
        return grad.to(ctx.dtype), grad_teacher, None, None, None


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
