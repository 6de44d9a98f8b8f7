"""The losses of other methods equal their authors' code, run outside this repository.

tests/data/published_losses.json has logits, and for each case the value and the gradients that the
code named there gives for them in float64. (CTKD's DKD gives NaN for its temperature under
PyTorch 2, where its masked probabilities are 0: there the student's gradient alone is compared.)
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aekt_mm.models.losses import (
    AEKTLoss,
    CurriculumTemperature,
    DISTLoss,
    KDLoss,
    LogitStandardization,
    MLKDLoss,
    NKDLoss,
    RLDLoss,
    TTMLoss,
    decompose,
)
from aekt_mm.registry import MODELS, build

PUBLISHED = json.loads((Path(__file__).parents[2] / 'data' / 'published_losses.json').read_text())
LOGITS = [torch.tensor(PUBLISHED[name], dtype=torch.float64) for name in ('student', 'teacher')]
TARGET = torch.tensor(PUBLISHED['target'])

LS = dict(transform=dict(type='LogitStandardization'))
LOSSES = {
    'nkd': dict(type='NKDLoss'),
    'nkd_3': dict(type='NKDLoss', temperature=3.0, gamma=3.5),
    'dist': dict(type='DISTLoss'),
    'dist_4': dict(type='DISTLoss', temperature=4.0, beta=1.5, gamma=0.5),
    'ttm': dict(type='TTMLoss', gamma=0.1, beta=45.0),
    'wttm': dict(type='TTMLoss', gamma=0.2, beta=4.0, weighted=True),
    'kd_ls': dict(type='KDLoss', temperature=2.0, alpha=9.0, **LS),
    'dkd_ls': dict(type='DKDLoss', temperature=2.0, alpha=9.0, beta=18.0, **LS),
    'rld': dict(type='RLDLoss'),
    'rld_1': dict(type='RLDLoss', temperature=1.0, alpha=0.7, beta=0.5, alpha_temperature=2.0),
    'rld_ls': dict(
        type='RLDLoss', temperature=2.0, alpha=9.0, beta=72.0, alpha_temperature=2.0, **LS
    ),
    'mlkd': dict(type='MLKDLoss'),
    'mlkd_ls': dict(type='MLKDLoss', temperatures=(2.0, 3.0, 5.0, 2.0, 6.0), weight=9.0, **LS),
    **{
        f'ctkd_epoch{epoch}': dict(type='KDLoss', alpha=0.9, temperature='curriculum')
        for epoch in (1, 5, 10)
    },
    **{
        f'ctkd_dkd_epoch{epoch}': dict(type='DKDLoss', beta=2.0, temperature='curriculum')
        for epoch in (1, 5, 10)
    },
}
#: One of each method, for what all must do.
METHODS = {
    'nkd': NKDLoss(2.0),
    'dist': DISTLoss(2.0),
    'ttm': TTMLoss(0.3, weighted=True),
    'rld': RLDLoss(),
    'mlkd': MLKDLoss(),
    'kd_ls': KDLoss(2.0, transform=LogitStandardization()),
    'aekt_ls': AEKTLoss(2.0, transform=LogitStandardization()),
}


def total(losses):
    return sum(value for name, value in losses.items() if 'loss' in name)


def batch(n=12, c=7, seed=0, dtype=torch.float64, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (
        torch.randn(n, c, generator=generator, dtype=dtype) * scale for _ in range(2)
    )
    return student, teacher, torch.randint(c, (n,), generator=generator)


def test_all_published_cases_are_looked_at():
    assert set(LOSSES) == set(PUBLISHED['cases'])


@pytest.mark.parametrize('name', LOSSES)
def test_equals_the_authors_code(name):
    config, parameters = dict(LOSSES[name]), {}
    if config.get('temperature') == 'curriculum':
        temperature = CurriculumTemperature(low=1.0, span=20.0).double()
        temperature.set_epoch(int(name.rpartition('epoch')[2]), 240)
        config['temperature'], parameters = temperature, {'theta': temperature.theta}
    loss = build(MODELS, config)
    student = LOGITS[0].clone().requires_grad_()
    value = total(loss(student, LOGITS[1], TARGET))
    gradients = torch.autograd.grad(value, [student, *parameters.values()])
    expected = PUBLISHED['cases'][name]
    assert value.item() == pytest.approx(expected['value'], rel=1e-13)
    for key, gradient in zip(['grad', *parameters], gradients):
        if 'dkd' in name and key == 'theta':
            continue
        wanted = torch.tensor(expected[key], dtype=torch.float64).view_as(gradient)
        torch.testing.assert_close(gradient, wanted, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize('name', METHODS)
def test_a_batch_of_one(name):
    """The last of an epoch may be."""
    student, teacher, target = batch(n=1)
    student.requires_grad_()
    total(METHODS[name](student, teacher, target)).backward()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize('name', [name for name in METHODS if name != 'aekt_ls'])
def test_gradients_are_those_of_the_values(name):
    student, teacher, target = batch(n=4, c=5)
    assert torch.autograd.gradcheck(
        lambda z: total(METHODS[name](z, teacher, target)), student.requires_grad_()
    )


@pytest.mark.parametrize('name', METHODS)
def test_no_gradient_to_the_teacher(name):
    student, teacher, target = batch()
    total(METHODS[name](student.requires_grad_(), teacher.requires_grad_(), target)).backward()
    assert teacher.grad is None


@pytest.mark.parametrize('name', METHODS)
def test_soft_targets_are_mixtures(name):
    student, teacher, target = batch()
    other = (target + 1) % 7
    one_hot = torch.nn.functional.one_hot
    share = torch.linspace(0.1, 0.9, 12, dtype=torch.float64)[:, None]
    mixed = METHODS[name](
        student, teacher, share * one_hot(target, 7) + (1 - share) * one_hot(other, 7)
    )
    for k in range(12):  # where samples are not coupled, each by itself
        if name in ('dist', 'mlkd'):
            break
        row = slice(k, k + 1)
        parts = [METHODS[name](student[row], teacher[row], t[row]) for t in (target, other)]
        expected = share[k] * total(parts[0]) + (1 - share[k]) * total(parts[1])
        alone = METHODS[name](
            student[row],
            teacher[row],
            (share * one_hot(target, 7) + (1 - share) * one_hot(other, 7))[row],
        )
        torch.testing.assert_close(total(alone), expected[0])
    if name in ('dist', 'mlkd'):
        torch.testing.assert_close(total(mixed), total(METHODS[name](student, teacher, target)))


@pytest.mark.parametrize('name', METHODS)
def test_half_precision_computes_in_float32(name):
    student, teacher, target = batch(dtype=torch.float32)
    half = [logits.bfloat16() for logits in (student, teacher)]
    expected = total(METHODS[name](*(logits.float() for logits in half), target))
    half[0].requires_grad_()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value = total(METHODS[name](*half, target))
    assert value.dtype == torch.float32
    assert torch.equal(value, expected)
    value.backward()
    assert half[0].grad.dtype == torch.bfloat16


@pytest.mark.parametrize('name', [name for name in METHODS if name != 'mlkd'])
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 999), classes=st.integers(2, 30), exponent=st.integers(-3, 3))
def test_finite_at_every_scale(name, seed, classes, exponent):
    """In float32; DIST at two classes too, where probabilities have one direction."""
    student, teacher, target = batch(
        c=classes, seed=seed, dtype=torch.float32, scale=10.0**exponent
    )
    value = total(METHODS[name](student.requires_grad_(), teacher, target))
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize('name', METHODS)
def test_under_compile(name):
    student, teacher, target = batch(dtype=torch.float32)
    compiled = torch.compile(METHODS[name], backend='eager', fullgraph=False)
    torch.testing.assert_close(
        total(compiled(student, teacher, target)), total(METHODS[name](student, teacher, target))
    )


def test_a_temperature_as_a_tensor_gets_its_gradient_through_both_networks():
    student, teacher, target = batch(n=4, c=5)
    temperature = torch.tensor(2.5, dtype=torch.float64, requires_grad=True)

    def weighted(t):
        return sum((k + 1) * part.sum() for k, part in enumerate(decompose(*logits, target, t)))

    logits = (student, teacher)
    assert torch.autograd.gradcheck(weighted, temperature)
    for got, wanted in zip(
        decompose(student, teacher, target, temperature), decompose(student, teacher, target, 2.5)
    ):
        torch.testing.assert_close(got, wanted)


def test_the_curriculum_reverses_more_with_every_epoch():
    temperature = CurriculumTemperature(epochs=4)
    gradients = []
    for epoch in range(1, 7):
        temperature.set_epoch(epoch, 6)
        [gradient] = torch.autograd.grad(temperature(), temperature.theta)
        gradients.append(gradient.item())
    assert gradients == sorted(gradients, reverse=True)
    assert gradients[3] == gradients[5] == pytest.approx(-20 / (2 + 2 * math.cosh(1)), rel=1e-5)


def test_the_learned_temperature_is_logged():
    losses = KDLoss(temperature=dict(type='CurriculumTemperature'))(*batch())
    assert losses['temperature'].item() == pytest.approx(1 + 20 / (1 + math.exp(-1)), rel=1e-6)
    assert not losses['temperature'].requires_grad


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_standardisation_is_of_the_unbiased_deviation(dtype):
    logits = batch(dtype=dtype)[0]
    exact = logits.numpy().astype(np.float64)
    expected = (exact - exact.mean(1, keepdims=True)) / (exact.std(1, ddof=1, keepdims=True) + 1e-7)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-13
    np.testing.assert_allclose(
        LogitStandardization()(logits), expected, rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize('eps', [1e-7, 0.5])
def test_gradient_of_the_standardisation(eps):
    logits = batch(n=3, c=5)[0].requires_grad_()
    assert torch.autograd.gradcheck(LogitStandardization(eps), logits)


@pytest.mark.parametrize('scale', [0.0, 1e-30, 1e30])
def test_standardisation_of_the_smallest_and_the_largest_logits_is_finite(scale):
    logits = (batch(dtype=torch.float32)[0] * scale).requires_grad_()
    standardised = LogitStandardization()(logits)
    (gradient,) = torch.autograd.grad((standardised * batch(seed=1)[0]).sum(), logits)
    assert standardised.isfinite().all()
    assert gradient.isfinite().all()


def test_standardisation_is_blind_to_scale_and_shift():
    logits = batch()[0]
    standardise = LogitStandardization()
    torch.testing.assert_close(standardise(7 * logits - 3), standardise(logits), rtol=1e-6, atol=0)


def test_dist_of_ranks_is_the_mean_of_their_correlations():
    """The part within classes is not that of the whole batch: a rank knows its own samples."""
    student, teacher, target = batch()
    loss = DISTLoss()
    halves = [loss(student[k::2], teacher[k::2], target[k::2]) for k in range(2)]
    whole = loss(student, teacher, target)
    mean = {name: (halves[0][name] + halves[1][name]) / 2 for name in whole}
    torch.testing.assert_close(mean['loss_inter'], whole['loss_inter'])
    assert (mean['loss_intra'] - whole['loss_intra']).abs() > 0.01


@pytest.mark.parametrize(
    ('kind', 'options', 'message'),
    [
        (NKDLoss, dict(gamma=-1.0), 'gamma must be a finite number of at least 0, but is -1.0'),
        (DISTLoss, dict(temperature=0), 'temperature must be a finite number above 0'),
        (TTMLoss, dict(gamma=0), 'gamma must be a finite number above 0, but is 0'),
        (RLDLoss, dict(alpha_temperature='4'), "alpha_temperature must .*, but is '4'"),
        (MLKDLoss, dict(temperatures=(2.0, 0.0)), 'temperatures must .*, but is 0.0'),
    ],
)
def test_bad_options(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)
