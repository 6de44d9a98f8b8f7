"""Similarity of two networks against numpy: CKA through Gram matrices, the rest by loops."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import entropy

from aekt_mm.evaluation import (
    agreement,
    class_by_class,
    kl_divergence,
    linear_cka,
    logit_correlation,
    soft_confusion,
)

MEASURES = (kl_divergence, logit_correlation, linear_cka)


def logits(n=60, c=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(n, c, generator=generator) * 3
    teacher = student + torch.randn(n, c, generator=generator)
    return student, teacher, torch.randint(c, (n,), generator=generator)


def test_against_numpy():
    student, teacher, labels = logits()
    s, t, y = student.double().numpy(), teacher.double().numpy(), labels.numpy()
    kl = [entropy(p, q) for p, q in zip(softmax(t / 2, 1), softmax(s / 2, 1))]
    assert kl_divergence(student, teacher, temperature=2) == pytest.approx(np.mean(kl))
    flat = [np.concatenate([row - row.mean() for row in z]) for z in (s, t)]
    assert logit_correlation(student, teacher) == pytest.approx(np.corrcoef(*flat)[0, 1])
    confusion = soft_confusion(teacher, labels)
    for i in range(7):
        expected = np.mean([softmax(row) for row, label in zip(t, y) if label == i], axis=0)
        np.testing.assert_allclose(confusion[i], expected)


def test_cka_is_that_of_gram_matrices():
    """As HSIC of kernels between samples (eqs. 3 and 4 of the paper), N x N instead of C x C."""
    student, teacher, _ = logits()
    n = len(student)
    centre = np.eye(n) - 1 / n

    def kernel(z):
        z = z.double().numpy()
        z = z - z.mean(1, keepdims=True)
        return centre @ (z @ z.T) @ centre

    k, l = kernel(student), kernel(teacher)  # noqa: E741
    expected = np.trace(k @ l) / np.sqrt(np.trace(k @ k) * np.trace(l @ l))
    assert linear_cka(student, teacher) == pytest.approx(expected)


@given(seed=st.integers(0, 2**31), scale=st.floats(0.1, 10))
def test_what_makes_no_difference(seed, scale):
    """A number added to a sample's logits to none; a rotation and a scale not to CKA."""
    student, teacher, _ = logits(n=20, seed=seed)
    moved = student + torch.linspace(-5, 5, 20)[:, None]
    for measure in MEASURES:
        assert measure(moved, teacher) == pytest.approx(measure(student, teacher), abs=1e-5)
    basis = torch.linalg.qr(torch.randn(7, 7, generator=torch.Generator().manual_seed(seed)))[0]
    centred = student - student.mean(1, keepdim=True)
    turned = torch.cat([scale * centred @ basis, -(scale * centred @ basis)], 1)
    assert linear_cka(turned, teacher) == pytest.approx(linear_cka(student, teacher), abs=1e-5)


def test_of_a_network_with_itself():
    student, _, _ = logits()
    found = [measure(student, student) for measure in MEASURES]
    assert found == pytest.approx([0, 1, 1], abs=1e-12)
    assert np.isnan(linear_cka(student, torch.zeros_like(student)))
    assert np.isnan(logit_correlation(student, torch.ones_like(student)))


def test_class_by_class():
    student, teacher, labels = logits()
    labels = labels.clamp(max=5)
    found = class_by_class(agreement, student, teacher, labels)
    same = (student.argmax(1) == teacher.argmax(1)).numpy()
    expected = [100 * same[labels.numpy() == label].mean() for label in range(6)]
    assert found[:6] == pytest.approx(expected)
    assert np.isnan(found[6])
    assert soft_confusion(student, labels)[6].isnan().all()
