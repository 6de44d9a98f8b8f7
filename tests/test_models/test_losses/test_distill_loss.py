"""KD, DKD and AEKT: values, soft targets, extremes and bad input."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from aekt_mm.models.losses import (
    AEKTLoss,
    DistillLoss,
    DKDLoss,
    KDLoss,
    TargetKL,
    bernoulli_kl,
)
from aekt_mm.registry import EXPLICIT_TERMS, MODELS, build

LOSSES = {
    'kd': KDLoss(temperature=3.0, alpha=0.7),
    'dkd': DKDLoss(temperature=3.0, alpha=0.7, beta=2.5),
    'aekt': AEKTLoss(temperature=3.0, alpha=0.7, beta=2.5),
}


def batch(n=12, c=7, seed=0, dtype=torch.float64, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(n, c, generator=generator, dtype=dtype) * scale
    teacher = torch.randn(n, c, generator=generator, dtype=dtype) * scale
    return student, teacher, torch.randint(c, (n,), generator=generator)


def total(losses):
    return sum(value for name, value in losses.items() if 'loss' in name)


def bernoulli(p, q):
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


def reference(name, student, teacher, target, temperature=3.0, alpha=0.7, beta=2.5):
    """A mean over samples of the published formulas, from full softmaxes in float64."""
    values = []
    for z_s, z_t, t in zip(student.numpy(), teacher.numpy(), target.tolist()):
        p_s, p_t = softmax(z_s / temperature), softmax(z_t / temperature)
        q_s = np.delete(p_s, t) / np.delete(p_s, t).sum()
        q_t = np.delete(p_t, t) / np.delete(p_t, t).sum()
        explicit, implicit = bernoulli(p_t[t], p_s[t]), np.sum(q_t * np.log(q_t / q_s))
        values.append(
            {
                'kd': (alpha * explicit, alpha * (1 - p_t[t]) * implicit),
                'dkd': (alpha * explicit, beta * implicit),
                'aekt': (alpha * min(p_t[t] / p_s[t], 2.0) * explicit, beta * implicit),
            }[name]
        )
    return np.mean(values, axis=0) * temperature**2


@pytest.mark.parametrize('name', LOSSES)
@pytest.mark.parametrize('classes', [3, 50])
def test_values(name, classes):
    student, teacher, target = batch(c=classes)
    losses = LOSSES[name](student, teacher, target)
    explicit, implicit = reference(name, student, teacher, target)
    if name == 'kd':
        np.testing.assert_allclose(losses['loss'], explicit + implicit, rtol=1e-10)
        return
    np.testing.assert_allclose(losses['loss_explicit'], explicit, rtol=1e-10)
    np.testing.assert_allclose(losses['loss_implicit'], implicit, rtol=1e-10)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    classes=st.integers(2, 30),
    temperature=st.floats(0.3, 20),
    scale=st.floats(0.01, 20),
)
def test_kd_is_torch_kl_div(seed, classes, temperature, scale):
    student, teacher, target = batch(c=classes, seed=seed, scale=scale)
    student.requires_grad_()
    kl = F.kl_div(
        F.log_softmax(student / temperature, 1),
        F.log_softmax(teacher / temperature, 1),
        reduction='batchmean',
        log_target=True,
    )
    (right,) = torch.autograd.grad(kl * temperature**2, student)
    ours = total(KDLoss(temperature)(student, teacher, target))
    (gradient,) = torch.autograd.grad(ours, student)
    torch.testing.assert_close(ours, kl * temperature**2, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(gradient, right, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize('name', LOSSES)
def test_gradcheck(name):
    student, teacher, target = batch(n=3, c=4)
    loss = LOSSES[name] if name != 'aekt' else AEKTLoss(3.0, explicit=dict(type='LogRatio'))
    assert torch.autograd.gradcheck(
        lambda s: total(loss(s, teacher, target)), (student.requires_grad_(),)
    )


def test_aekt_with_dkd_term_is_dkd():
    student, teacher, target = batch()
    aekt = AEKTLoss(3.0, 0.7, 2.5, explicit=TargetKL())(student, teacher, target)
    assert aekt.pop('applied_weight') == pytest.approx(0.7)
    assert aekt == LOSSES['dkd'](student, teacher, target)


def test_the_explicit_term_has_a_temperature_of_its_own():
    student, teacher, target = batch()
    student.requires_grad_()
    mixed = AEKTLoss(3.0, 0.7, 2.5, TargetKL(), explicit_temperature=1.5)(student, teacher, target)
    at_3, at_1 = (DKDLoss(t, 0.7, 2.5)(student, teacher, target) for t in (3.0, 1.5))
    torch.testing.assert_close(mixed['loss_explicit'], at_1['loss_explicit'])
    torch.testing.assert_close(mixed['loss_implicit'], at_3['loss_implicit'])
    (gradient,) = torch.autograd.grad(total(mixed), student)
    (expected,) = torch.autograd.grad(at_1['loss_explicit'] + at_3['loss_implicit'], student)
    torch.testing.assert_close(gradient, expected)


def test_the_applied_weight_is_what_dkd_would_have_to_pull_with():
    student, teacher, target = batch()
    applied = AEKTLoss(3.0, 0.7, 2.5)(student, teacher, target)['applied_weight']
    p_s, p_t = (softmax(z.numpy() / 3, 1)[range(12), target] for z in (student, teacher))
    gap = np.abs(p_t - p_s)
    weight = 0.7 * np.minimum(p_t / p_s, 2.0)
    np.testing.assert_allclose(applied.item(), (weight * gap).sum() / gap.sum())
    as_dkd = AEKTLoss(3.0, 0.7, explicit=TargetKL())(student, teacher, target)
    np.testing.assert_allclose(as_dkd['applied_weight'].item(), 0.7)
    agreed = AEKTLoss(3.0, 0.7)(student, student, target)['applied_weight']
    assert agreed == 0
    plain = AEKTLoss(explicit=lambda m_s, m_t: (m_s - m_t) ** 2)(student, teacher, target)
    assert 'applied_weight' not in plain


@pytest.mark.parametrize('name', LOSSES)
def test_shift_invariance(name):
    student, teacher, target = batch()
    shifted = LOSSES[name](student + 5.0, teacher - 7.0, target)
    torch.testing.assert_close(total(shifted), total(LOSSES[name](student, teacher, target)))


@pytest.mark.parametrize('name', LOSSES)
def test_soft_target_is_the_mixture_of_its_classes(name):
    student, teacher, first = batch()
    second = (first + 1) % 7
    share = torch.rand(12, dtype=torch.float64)
    soft = torch.zeros(12, 7, dtype=torch.float64)
    soft[torch.arange(12), first], soft[torch.arange(12), second] = share, 1 - share
    mixed = LOSSES[name](student, teacher, soft)
    expected = 0.0
    for n in range(12):  # a sample at a time, through hard labels
        one = slice(n, n + 1)
        for target, weight in ((first, share[n]), (second, 1 - share[n])):
            losses = LOSSES[name](student[one], teacher[one], target[one])
            expected += weight * total(losses) / 12
    torch.testing.assert_close(total(mixed), expected)
    one_hot = F.one_hot(first, 7).double()
    torch.testing.assert_close(
        total(LOSSES[name](student, teacher, one_hot)),
        total(LOSSES[name](student, teacher, first)),
    )


@pytest.mark.parametrize('name', LOSSES)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize('classes', [2, 5])
def test_extremes_stay_finite(name, dtype, classes):
    """Logits of 1e4 with p_t of exactly 0 and 1, in every combination of student and teacher."""
    extreme = torch.full((2, classes), -1e4)
    extreme[0, 0] = extreme[1, 1] = 1e4
    student = extreme[[0, 0, 1, 1]].to(dtype).requires_grad_()
    teacher = extreme[[0, 1, 0, 1]].to(dtype)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = LOSSES[name](student, teacher, torch.zeros(4, dtype=torch.int64))
    assert all(value.isfinite() for value in losses.values()), losses
    total(losses).backward()
    assert student.grad.isfinite().all()


def test_kd_is_an_explicit_and_an_implicit_part():
    """As Zhao et al. (2022, eq. 5) decouple it."""

    class Decoupled(DistillLoss):
        def terms(self, student_margin, teacher_margin, nontarget_kl):
            return {
                'loss_explicit': bernoulli_kl(student_margin, teacher_margin),
                'loss_implicit': (-teacher_margin).sigmoid() * nontarget_kl,
            }

    student, teacher, target = batch()
    student.requires_grad_()
    values = [total(loss(3.0)(student, teacher, target)) for loss in (KDLoss, Decoupled)]
    gradients = [torch.autograd.grad(value, student)[0] for value in values]
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize('name', ['dkd', 'aekt'])
def test_two_classes_have_no_implicit_part(name):
    student, teacher, target = batch(c=2)
    assert LOSSES[name](student, teacher, target)['loss_implicit'] == 0


def test_confidence_ratio():
    student, teacher, target = batch(dtype=torch.float64)
    logged = LOSSES['aekt'](student.requires_grad_(), teacher, target)['confidence_ratio']
    rows = torch.arange(12)
    ratio = (teacher / 3).softmax(1)[rows, target] / (student / 3).softmax(1)[rows, target]
    torch.testing.assert_close(logged, ratio.clamp(max=1000).mean())
    assert not logged.requires_grad


def test_built_from_configs_in_any_scope():
    loss = MODELS.build(dict(type='DKDLoss', temperature=2.0, alpha=0.5, beta=3.0))
    assert (loss.temperature, loss.alpha, loss.beta) == (2.0, 0.5, 3.0)
    loss = build(MODELS, dict(type='AEKTLoss', explicit=dict(type='GapWeighted')))
    assert isinstance(loss.explicit, EXPLICIT_TERMS.get('GapWeighted'))


def test_a_new_loss_is_its_terms():
    class MarginMSE(DistillLoss):
        def terms(self, student_margin, teacher_margin, nontarget_kl):
            return {'loss': (student_margin - teacher_margin).square()}

    student, teacher, target = batch()
    assert total(MarginMSE()(student, teacher, target)) > 0


@pytest.mark.parametrize(
    ('loss', 'options', 'message'),
    [
        (KDLoss, dict(temperature=0), 'temperature must be a finite number above 0, but is 0'),
        (DKDLoss, dict(temperature=-1.0), 'temperature .* above 0, but is -1.0'),
        (KDLoss, dict(temperature=float('nan')), 'temperature .* nan'),
        (KDLoss, dict(temperature='4'), "temperature .* '4'"),
        (KDLoss, dict(alpha=-0.1), 'alpha must be a finite number of at least 0, but is -0.1'),
        (DKDLoss, dict(beta=float('inf')), 'beta .* inf'),
        (AEKTLoss, dict(beta=-8), 'beta .* -8'),
    ],
)
def test_bad_options(loss, options, message):
    with pytest.raises(ValueError, match=message):
        loss(**options)


@pytest.mark.parametrize('misspelt', [dict(temprature=4.0), dict(explict=dict(type='LogRatio'))])
def test_misspelt_options(misspelt):
    with pytest.raises(TypeError, match=next(iter(misspelt))):
        MODELS.build(dict(type='AEKTLoss', **misspelt))


def test_unknown_explicit_term():
    with pytest.raises(KeyError, match='RatioWeigthed'):
        AEKTLoss(explicit=dict(type='RatioWeigthed'))


def soft(classes):
    target = torch.zeros(12, 7)
    target[:, :classes] = 1 / classes
    return target


@pytest.mark.parametrize(
    ('student', 'teacher', 'target', 'error', 'message'),
    [
        ((12, 7), (12, 8), torch.zeros(12).long(), ValueError, r'\(12, 8\).*same classes'),
        ((12, 1), (12, 1), torch.zeros(12).long(), ValueError, 'at least 2'),
        ((12,), (12,), torch.zeros(12).long(), ValueError, r'must be \(N, C\)'),
        ((12, 7), (12, 7), torch.full((12,), 7), IndexError, 'label 7 is out of range.*7 classes'),
        ((12, 7), (12, 7), torch.full((12,), -1), IndexError, 'label -1'),
        ((12, 7), (12, 7), torch.zeros(11).long(), ValueError, 'target must be'),
        ((12, 7), (12, 7), torch.zeros(12), ValueError, 'target must be .*float32'),
        ((12, 7), (12, 7), soft(3), ValueError, 'mixes 3 classes, but at most 2'),
        ((12, 7), (12, 7), soft(2) * 3, ValueError, r'sum to 1, but has \[1.5, 1.5\]'),
        ((12, 7), (12, 7), soft(1) - 2 * soft(1), ValueError, r'at least 0 .*has \[-1.0\]'),
        ((12, 7), (12, 7), soft(1).where(soft(1) == 0, torch.nan), ValueError, r'has \[nan\]'),
    ],
)
def test_bad_batches(student, teacher, target, error, message):
    with pytest.raises(error, match=message):
        DKDLoss()(torch.zeros(student), torch.zeros(teacher), target)


@pytest.mark.parametrize('name', LOSSES)
@pytest.mark.parametrize('soft_target', [False, True])
def test_no_step_waits_for_the_device(name, soft_target, monkeypatch):
    """Tensors without content stand for those of a GPU: to look at a value of theirs is an error.

    Only the first soft targets are looked at.
    """
    monkeypatch.setattr(torch, 'is_autocast_enabled', lambda _: False)  # knows no such device
    loss = copy.deepcopy(LOSSES[name])
    loss._mixing_checked = False  # other tests have shown it soft targets
    student = torch.zeros(12, 7, device='meta', requires_grad=True)
    teacher = torch.zeros(12, 7, device='meta')
    target = soft(2).to('meta') if soft_target else torch.zeros(12, device='meta').long()
    if soft_target:
        with pytest.raises(RuntimeError, match='meta'):
            loss(student, teacher, target)
        loss(torch.zeros(12, 7), torch.zeros(12, 7), soft(2))
    total(loss(student, teacher, target)).backward()
    assert student.grad.shape == (12, 7)


def test_bernoulli_kl_has_the_gradients_of_its_value():
    margins = [
        torch.linspace(-3, 3, 7, dtype=torch.float64).roll(k).requires_grad_() for k in (0, 2)
    ]
    assert torch.autograd.gradcheck(bernoulli_kl, margins)


def test_the_pull_is_exact_where_both_networks_are_sure():
    student, teacher = torch.tensor([10.0], requires_grad=True), torch.tensor([20.0])
    bernoulli_kl(student, teacher).backward()
    expected = torch.tensor([10.0], dtype=torch.float64).sigmoid() - torch.sigmoid(
        torch.tensor([20.0], dtype=torch.float64)
    )
    torch.testing.assert_close(student.grad.double(), expected, rtol=1e-5, atol=0)
