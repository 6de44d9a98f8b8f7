"""The divergence against float64 and longdouble, and its gradients."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from aekt_mm.models.losses import divergence


def batch(n=16, c=10, scale=3.0, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(2, n, c, generator=generator, dtype=torch.float64)
        .mul_(scale)
        .to(dtype)
        .unbind()
    )


def reference(student, teacher, temperature):
    logs = [log_softmax(np.float64(z) / temperature, axis=1) for z in (student, teacher)]
    return (np.exp(logs[1]) * (logs[1] - logs[0])).sum(1)


@pytest.mark.parametrize('classes', [2, 3, 100])
@pytest.mark.parametrize('temperature', [1.0, 4.0, 0.5])
@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_values(classes, temperature, dtype, tolerance):
    student, teacher = batch(c=classes, dtype=dtype)
    value = divergence(student, teacher, temperature, weight=0.7)
    expected = 0.7 * reference(student, teacher, temperature)
    assert value.dtype == dtype
    np.testing.assert_allclose(value, expected, rtol=tolerance, atol=tolerance)


def test_a_weight_for_each_sample():
    student, teacher = batch()
    weight = torch.arange(16, dtype=torch.float64)
    student.requires_grad_()
    weighted = divergence(student, teacher, 2.0, weight)
    torch.testing.assert_close(weighted, weight * divergence(student, teacher, 2.0))
    gradients = [
        torch.autograd.grad(value.sum(), student)[0]
        for value in (weighted, weight * divergence(student, teacher, 2.0))
    ]
    torch.testing.assert_close(*gradients)


def test_gradients():
    student, teacher = batch(n=3, c=4)
    inputs = (student.requires_grad_(), teacher.requires_grad_())
    assert torch.autograd.gradcheck(lambda s, t: divergence(s, t, 2.0, 0.7), inputs)
    temperature = torch.tensor(2.5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda s, t, tau: divergence(s, t, tau, tau * tau), (*inputs, temperature)
    )


def test_agreement_is_exactly_zero():
    student, _ = batch(dtype=torch.float32, scale=50)
    student.requires_grad_()
    value = divergence(student, student.detach().clone(), 4.0)
    (gradient,) = torch.autograd.grad(value.sum(), student)
    assert (value == 0).all()
    assert (gradient == 0).all()


@pytest.mark.parametrize('temperature', [1e-3, 1.0, 1e3])
def test_huge_logits_stay_finite(temperature):
    student = torch.tensor([[1e5, -1e5, 0], [-1e5, 1e5, 0]], requires_grad=True)
    value = divergence(student, student.detach().flip(0), temperature)
    expected = reference(student.detach(), student.detach().flip(0), temperature)
    np.testing.assert_allclose(value.detach(), expected, rtol=1e-5)
    (gradient,) = torch.autograd.grad(value.sum(), student)
    assert gradient.isfinite().all()
