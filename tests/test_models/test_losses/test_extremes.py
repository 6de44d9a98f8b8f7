"""Losses and gradients over the whole range of floating point, against longdouble."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aekt_mm.models.losses import (
    AEKTLoss,
    DKDLoss,
    GapWeighted,
    KDLoss,
    LogRatio,
    RatioWeighted,
    TargetKL,
    TeacherWeighted,
)

BETA = 2.0

#: By name: the loss, and its explicit term a sample from margins.
BOUNDED = {
    'ratio-kl': (RatioWeighted(2.0, 'kl'), lambda s, t: np.minimum(ratio(s, t), 2) * kl(s, t)),
    'ratio-log': (RatioWeighted(2.0, 'log'), lambda s, t: np.minimum(ratio(s, t), 2) * -log(s)),
    'gap': (GapWeighted(), lambda s, t: np.abs(np.exp(log(t)) - np.exp(log(s))) * -log(s)),
    'teacher': (TeacherWeighted(), lambda s, t: np.exp(log(t)) * -log(s)),
    'kl': (TargetKL(), lambda s, t: kl(s, t)),
}
UNBOUNDED = {
    'ratio-kl': (RatioWeighted(None, 'kl'), lambda s, t: ratio(s, t) * kl(s, t)),
    'ratio-log': (RatioWeighted(None, 'log'), lambda s, t: ratio(s, t) * -log(s)),
    'log-ratio': (LogRatio(), lambda s, t: (log(t) - log(s)) ** 2 / 2),
}
#: The pull of the unbounded terms, -dE/dm.
PULLS = {
    'ratio-kl': lambda s, t: ratio(s, t) * (np.exp(log(t)) - np.exp(log(s))),
    'ratio-log': lambda s, t: ratio(s, t) * np.exp(log(-s)),
    'log-ratio': lambda s, t: (log(t) - log(s)) * np.exp(log(-s)),
}


def log(margin):
    """Log sigmoid."""
    return -np.logaddexp(0, -margin)


def ratio(s, t):
    return np.exp(log(t) - log(s))


def kl(s, t):
    return np.exp(log(t)) * (log(t) - log(s)) + np.exp(log(-t)) * (log(-t) - log(-s))


def margins(student, teacher, target, temperature):
    """Margins and non-target divergence of each sample in longdouble, targets left out."""
    rows = []
    for z_s, z_t, t in zip(student, teacher, target):
        both = [np.longdouble(z.double().numpy()) / temperature for z in (z_s, z_t)]
        rest = [np.delete(z, t) for z in both]
        total = [z.max() + np.log(np.exp(z - z.max()).sum()) for z in rest]
        q_s, q_t = rest[0] - total[0], rest[1] - total[1]
        d = (np.exp(q_t) * (q_t - q_s)).sum()
        rows.append((both[0][t] - total[0], both[1][t] - total[1], d))
    return np.array(rows).T


cases = given(
    seed=st.integers(0, 2**31),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    classes=st.integers(2, 50),
    scale=st.floats(-3, 5).map(lambda power: 10**power),
    temperature=st.floats(-3, 3).map(lambda power: 10**power),
)
# overflowed in a product of infinity and zero
seen = example(seed=0, dtype=torch.float32, classes=10, scale=300.0, temperature=4.0)


def batch(seed, dtype, classes, scale):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 8, classes, generator=generator, dtype=torch.float64) * scale
    if dtype == torch.float16:
        logits.clamp_(-6e4, 6e4)
    student, teacher = logits
    target = torch.randint(classes, (8,), generator=generator)
    return student.to(dtype).requires_grad_(), teacher.to(dtype), target


def gradient(losses, student):
    total = sum(value for name, value in losses.items() if 'loss' in name)
    return torch.autograd.grad(total, student)[0]


@pytest.mark.parametrize('name', ['kd', 'dkd', *BOUNDED])
@settings(max_examples=25, deadline=None)
@cases
@seen
def test_bounded_losses(name, seed, dtype, classes, scale, temperature):
    student, teacher, target = batch(seed, dtype, classes, scale)
    s, t, d = margins(student.detach(), teacher, target, temperature)
    if name == 'kd':
        loss, parts = KDLoss(temperature), {'loss': kl(s, t) + np.exp(log(-t)) * d}
    elif name == 'dkd':
        loss = DKDLoss(temperature, beta=BETA)
        parts = {'loss_explicit': kl(s, t), 'loss_implicit': BETA * d}
    else:
        loss = AEKTLoss(temperature, beta=BETA, explicit=BOUNDED[name][0])
        with np.errstate(over='ignore'):
            parts = {'loss_explicit': BOUNDED[name][1](s, t), 'loss_implicit': BETA * d}
    losses = loss(student, teacher, target)
    # margins are differences of tempered logits, each of them rounded
    epsilon = torch.finfo(next(iter(losses.values())).dtype).eps
    largest = max(student.detach().abs().max().item(), teacher.abs().max().item()) / temperature
    tolerance = 64 * epsilon * (1 + largest) * temperature**2 * BETA
    for part, expected in parts.items():
        right = float(expected.mean() * temperature**2)
        assert losses[part].item() == pytest.approx(right, rel=1e-4, abs=tolerance), part
    assert gradient(losses, student).isfinite().all()
    assert name == 'kd' or losses['confidence_ratio'].isfinite()


@pytest.mark.parametrize('name', UNBOUNDED)
@settings(max_examples=40, deadline=None)
@cases
@seen
def test_unbounded_terms_overflow_only_where_they_are_beyond_all_numbers(
    name, seed, dtype, classes, scale, temperature
):
    student, teacher, target = batch(seed, dtype, classes, scale)
    s, t, _ = margins(student.detach(), teacher, target, temperature)
    term, exact = UNBOUNDED[name]
    loss = AEKTLoss(temperature, beta=BETA, explicit=term)
    losses = loss(student, teacher, target)
    value = losses['loss_explicit']
    with np.errstate(over='ignore', invalid='ignore'):  # longdouble ends, too
        values, pulls = exact(s, t), PULLS[name](s, t)
    # what rounds margins rounds the exponents; factors are multiplied one after the other
    largest = max(student.detach().abs().max().item(), teacher.abs().max().item()) / temperature
    reserve = 1e7 * np.exp(np.longdouble(8 * torch.finfo(value.dtype).eps * largest))
    if values.max() * reserve < torch.finfo(value.dtype).max:
        assert value.isfinite(), (s, t)
    assert not value.isnan()
    found = gradient(losses, student)
    if max(np.abs(pulls).max(), values.max()) * reserve < torch.finfo(value.dtype).max:
        assert not found.isnan().any()
    if np.abs(pulls).max() * reserve < torch.finfo(dtype).max:
        assert found.isfinite().all(), (s, t)


@pytest.mark.parametrize('gap', [0.0, 1e-3, 0.9, 1.1, 30.0, 80.0])
@pytest.mark.parametrize('level', [2.0, 0.0, -14.0, -18.0, -90.0, -300.0])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_the_unlimited_ratio(level, gap, dtype):
    """Value and pull on both sides of where the form of their computation changes."""
    student = torch.tensor([level - gap], dtype=dtype, requires_grad=True)
    teacher = torch.tensor([level], dtype=dtype)
    value = RatioWeighted(None)(student, teacher)
    (slope,) = torch.autograd.grad(value.sum(), student)
    s, t = (np.longdouble(x.item()) for x in (student, teacher))
    tolerance = dict(rel=1e-4, abs=1e-7) if dtype == torch.float32 else dict(rel=1e-9, abs=1e-14)
    weight = np.exp(log(t) - log(s))
    assert value.item() == pytest.approx(float(weight * kl(s, t)), **tolerance)
    pull = weight * (np.exp(log(t)) - np.exp(log(s)))
    assert -slope.item() == pytest.approx(float(pull), **tolerance)
