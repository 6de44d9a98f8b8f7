"""The decomposition against its definitions, written anew in float64 numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from aekt_mm.models.losses import decompose


def reference(student, teacher, target, temperature):
    """Loop over samples; probabilities by full softmax, the target left out by deletion."""
    rows = []
    for z_s, z_t, t in zip(np.float64(student), np.float64(teacher), target):
        z_s, z_t = z_s / temperature, z_t / temperature
        rest_s, rest_t = np.delete(z_s, t), np.delete(z_t, t)
        log_q_s, log_q_t = rest_s - logsumexp(rest_s), rest_t - logsumexp(rest_t)
        divergence = np.sum(np.exp(log_q_t) * (log_q_t - log_q_s))
        rows.append((z_s[t] - logsumexp(rest_s), z_t[t] - logsumexp(rest_t), divergence))
    return np.array(rows).T


def batch(n=16, c=10, scale=3.0, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(n, c, generator=generator, dtype=dtype) * scale
    teacher = torch.randn(n, c, generator=generator, dtype=dtype) * scale
    return student, teacher, torch.randint(c, (n,), generator=generator)


@pytest.mark.parametrize('classes', [2, 3, 100])
@pytest.mark.parametrize('temperature', [1.0, 4.0, 0.5])
@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_values(classes, temperature, dtype, tolerance):
    student, teacher, target = batch(c=classes, dtype=dtype)
    expected = reference(student.numpy(), teacher.numpy(), target.numpy(), temperature)
    for value, right in zip(decompose(student, teacher, target, temperature), expected):
        assert value.dtype == dtype
        np.testing.assert_allclose(value.numpy(), right, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize('classes', [2, 7])
def test_gradcheck(classes):
    student, teacher, target = batch(n=3, c=classes)
    student.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s: [decompose(s, teacher, target, 2.0)[k] for k in (0, 2)], (student,)
    )


def test_gradient_formula():
    student, teacher, target = batch(n=5, c=6)
    student.requires_grad_()
    g_m, g_d = torch.randn(2, 5, dtype=torch.float64)
    margin, _, divergence = decompose(student, teacher, target)
    (g_m * margin + g_d * divergence).sum().backward()
    for n, t in enumerate(target.tolist()):
        rest = [i for i in range(6) if i != t]
        q_s = np.exp(student[n, rest].detach() - logsumexp(student[n, rest].detach()))
        q_t = np.exp(teacher[n, rest] - logsumexp(teacher[n, rest]))
        np.testing.assert_allclose(student.grad[n, t], g_m[n])
        np.testing.assert_allclose(student.grad[n, rest], (g_d[n] - g_m[n]) * q_s - g_d[n] * q_t)


def test_teacher_gets_no_gradient():
    student, teacher, target = batch()
    student.requires_grad_()
    teacher.requires_grad_()
    margin, teacher_margin, divergence = decompose(student, teacher, target)
    assert not teacher_margin.requires_grad
    (margin + divergence).sum().backward()
    assert teacher.grad is None


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), shift=st.floats(-100, 100), scale=st.floats(0.01, 30))
def test_invariants(seed, shift, scale):
    student, teacher, target = batch(seed=seed, scale=scale)
    plain = decompose(student, teacher, target, 4.0)
    shifted = decompose(student + shift, teacher - shift, target, 4.0)
    for value, moved in zip(plain, shifted):
        torch.testing.assert_close(moved, value, rtol=1e-8, atol=1e-8)
    assert (plain[2] >= -1e-12).all()
    order = torch.randperm(10)  # renaming the classes changes nothing
    renamed = decompose(student[:, order], teacher[:, order], order.argsort()[target], 4.0)
    for value, moved in zip(plain, renamed):
        torch.testing.assert_close(moved, value)


def test_agreement_is_exactly_zero_divergence():
    student, _, target = batch(dtype=torch.float32, scale=50)
    assert (decompose(student, student.clone(), target)[2] == 0).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize('temperature', [1.0, 4.0])
def test_huge_logits_stay_finite(dtype, temperature):
    """With p_t of exactly 0 and of exactly 1 on either side."""
    high, low = 1e4, -1e4
    student = torch.tensor([[high, low, 0], [low, high, 0], [low, low, high]], dtype=dtype)
    teacher = torch.tensor([[low, high, 0], [high, low, 0], [low, low, high]], dtype=dtype)
    student.requires_grad_()
    values = decompose(student, teacher, torch.tensor([0, 0, 2]), temperature)
    expected = reference(
        student.detach().float().numpy(), teacher.float().numpy(), [0, 0, 2], temperature
    )
    for value, right in zip(values, expected):
        assert value.dtype == torch.float32
        np.testing.assert_allclose(value.detach().numpy(), right, rtol=1e-4)
    (values[0] + values[2]).sum().backward()
    assert student.grad.dtype == dtype
    assert student.grad.isfinite().all()


def test_under_autocast_computes_in_float32():
    student, teacher, target = batch(dtype=torch.float32)
    expected = decompose(student, teacher, target)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        values = decompose(student, teacher, target)
    for value, right in zip(values, expected):
        torch.testing.assert_close(value, right, rtol=0, atol=0)


def test_empty_batch():
    student = torch.zeros(0, 5, requires_grad=True)
    values = decompose(student, torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64))
    sum(v.sum() for v in values).backward()
    assert student.grad.shape == (0, 5)
