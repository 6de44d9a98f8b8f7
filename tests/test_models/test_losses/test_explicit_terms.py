"""The explicit terms: values and pulls from the design's table, in numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aekt_mm.models.losses import (
    GapWeighted,
    LogRatio,
    RatioPull,
    RatioWeighted,
    TargetKL,
    TeacherWeighted,
)


def kl(s, t):
    return t * np.log(t / s) + (1 - t) * np.log((1 - t) / (1 - s))


def ratio_pull(s, t):
    """The integral of 1 - t / s over the margin, from where the two agree."""
    return t * (1 / s - 1 / t) + (1 - t) * np.log(s / (1 - s) * (1 - t) / t)


def clipped_ratio_pull(s, t):
    corner = t / 2.5
    beyond = np.log(corner / (1 - corner) * (1 - s) / s)
    return ratio_pull(max(s, corner), t) + 1.5 * max(beyond, 0)


#: name: (term, its value, its pull), of the student's and the teacher's probability
TERMS = {
    'ratio-kl': (RatioWeighted(2.0, 'kl'), lambda s, t: min(t / s, 2) * kl(s, t),
                 lambda s, t: min(t / s, 2) * (t - s)),
    'ratio-kl, unbounded': (RatioWeighted(None, 'kl'), lambda s, t: t / s * kl(s, t),
                            lambda s, t: t / s * (t - s)),
    'ratio-log': (RatioWeighted(3.0, 'log'), lambda s, t: -min(t / s, 3) * np.log(s),
                  lambda s, t: min(t / s, 3) * (1 - s)),
    'log ratio': (LogRatio(), lambda s, t: np.log(t / s) ** 2 / 2,
                  lambda s, t: np.log(t / s) * (1 - s)),
    'ratio pull': (RatioPull(1e9), ratio_pull, lambda s, t: t / s - 1),
    'ratio pull, clipped': (RatioPull(1.5), clipped_ratio_pull, lambda s, t: min(t / s - 1, 1.5)),
    'gap': (GapWeighted(), lambda s, t: -abs(t - s) * np.log(s), lambda s, t: abs(t - s) * (1 - s)),
    'teacher': (TeacherWeighted(), lambda s, t: -t * np.log(s), lambda s, t: t * (1 - s)),
    'target kl': (TargetKL(), kl, lambda s, t: t - s),
}  # fmt: skip

margins = st.floats(-12, 12)


@pytest.mark.parametrize('name', TERMS)
@given(student=margins, teacher=margins)
def test_value_and_pull(name, student, teacher):
    term, value, pull = TERMS[name]
    m_s = torch.tensor([student], dtype=torch.float64, requires_grad=True)
    m_t = torch.tensor([teacher], dtype=torch.float64)
    p_s, p_t = 1 / (1 + np.exp(-student)), 1 / (1 + np.exp(-teacher))
    explicit = term(m_s, m_t)
    explicit.sum().backward()
    np.testing.assert_allclose(explicit.item(), value(p_s, p_t), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(-m_s.grad.item(), pull(p_s, p_t), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(term.pull(m_s, m_t), -m_s.grad, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize('name', [name for name in TERMS if 'unbounded' not in name])
def test_extremes_stay_finite(name):
    term, *_ = TERMS[name]
    m_s = torch.tensor([1e4, 1e4, -1e4, -1e4], requires_grad=True)
    explicit = term(m_s, torch.tensor([1e4, -1e4, 1e4, -1e4]))
    explicit.sum().backward()
    assert explicit.isfinite().all()
    assert m_s.grad.isfinite().all()


def test_gradient_of_the_plain_ratio():
    """Base 'log', unclipped, pulls as the gradient of the ratio itself does."""
    m_s = torch.tensor([-1.0, 0.5], dtype=torch.float64, requires_grad=True)
    m_t = torch.tensor([0.3, 2.0], dtype=torch.float64)
    (ratio,) = torch.autograd.grad((m_t.sigmoid() / m_s.sigmoid()).sum(), m_s)
    (ours,) = torch.autograd.grad(RatioWeighted(None, 'log')(m_s, m_t).sum(), m_s)
    torch.testing.assert_close(ours, ratio)


@given(teacher=st.floats(-30, 30), student=st.lists(st.floats(-30, 30), min_size=2, max_size=9))
def test_the_ratio_pull_is_convex_and_least_where_the_two_agree(teacher, student):
    m_s = torch.tensor(sorted(student), dtype=torch.float64)
    m_t = torch.full_like(m_s, teacher)
    pull = RatioPull(2.0).pull(m_s, m_t)
    assert (pull.diff() <= 1e-9).all()
    assert (RatioPull(2.0)(m_s, m_t) >= -1e-9).all()
    torch.testing.assert_close(RatioPull(2.0)(m_t, m_t), torch.zeros_like(m_t), atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(base='kld'), "base must be one of .*'kl', 'log'.* but is 'kld'"),
        (dict(max_weight=0), 'max_weight must be a finite number above 0, but is 0'),
        (dict(max_weight=-2.0), 'max_weight .* -2.0'),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        RatioWeighted(**options)
