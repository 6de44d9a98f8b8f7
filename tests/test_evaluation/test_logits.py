"""Measures of students against numpy, written sample by sample."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from aekt_mm.evaluation import (
    accuracy,
    agreement,
    calibration_error,
    confidence_gap,
    measure,
    negative_log_likelihood,
    reliability,
)


def logits(n=200, c=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(n, c, generator=generator) * 3
    teacher = student + torch.randn(n, c, generator=generator)
    return student, teacher, torch.randint(c, (n,), generator=generator)


def test_against_numpy():
    student, teacher, labels = logits()
    s, t, y = student.double().numpy(), teacher.double().numpy(), labels.numpy()
    rows = range(len(y))
    ranks = [(s[i] > s[i, y[i]]).sum() for i in rows]
    assert accuracy(student, labels) == pytest.approx(100 * np.mean(np.array(ranks) < 1))
    assert accuracy(student, labels, 3) == pytest.approx(100 * np.mean(np.array(ranks) < 3))
    assert agreement(student, teacher) == pytest.approx(100 * np.mean(s.argmax(1) == t.argmax(1)))
    p_s, p_t = softmax(s, 1)[rows, y], softmax(t, 1)[rows, y]
    assert confidence_gap(student, teacher, labels) == pytest.approx(np.abs(p_s - p_t).mean())
    nll = -log_softmax(s, 1)[rows, y].mean()
    assert negative_log_likelihood(student, labels) == pytest.approx(nll)
    p, hit = softmax(s, 1).max(1), s.argmax(1) == y
    error = 0.0
    bins = reliability(student, labels, bins=10)
    for number, low in enumerate(np.arange(10) / 10):
        inside = (p > low) & (p <= low + 0.1)
        assert bins.count[number] == inside.sum()
        if inside.any():
            error += inside.mean() * abs(p[inside].mean() - hit[inside].mean())
            assert bins.accuracy[number] == pytest.approx(hit[inside].mean())
        else:
            assert bins.confidence[number].isnan()
    assert calibration_error(student, labels, bins=10) == pytest.approx(error)


@given(seed=st.integers(0, 2**31), classes=st.integers(2, 12))
def test_a_student_that_is_its_teacher(seed, classes):
    student, _, labels = logits(n=20, c=classes, seed=seed)
    found = measure(student, labels, student)
    assert found['agreement'] == 100
    assert found['confidence_gap'] == 0
    assert ('top5' in found) == (classes > 5)
    assert 0 <= found['calibration_error'] <= 1


def test_a_calibrated_student_has_no_calibration_error():
    """Sure of one half, and right half of the time."""
    half = torch.tensor([[0.0, 0.0]]).repeat(10, 1)
    assert calibration_error(half, torch.tensor([0, 1] * 5)) == pytest.approx(0, abs=1e-12)
    sure = torch.tensor([[50.0, 0.0]]).repeat(10, 1)
    assert calibration_error(sure, torch.tensor([0, 1] * 5)) == pytest.approx(0.5)


def test_without_a_teacher():
    student, _, labels = logits()
    assert set(measure(student, labels)) == {'top1', 'top5', 'nll', 'calibration_error'}
