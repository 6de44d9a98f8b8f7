"""The losses on features equal their authors' code, run outside this repository.

tests/data/feature_losses.json has features and parameters of projections, and the values and
gradients that the code named there gives for them in float64. RepDistiller is CRD's authors' own
code; that of FitNet, AT and RKD there is what the tables of the literature were made with.
"""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from aekt_mm.models import losses
from aekt_mm.models.losses import ATLoss, CRDLoss, FeatureLoss, FitNetLoss, ReviewKDLoss, RKDLoss

CASES = json.loads((Path(__file__).parents[2] / 'data' / 'feature_losses.json').read_text())[
    'cases'
]
LOSSES = {
    'fitnet': FitNetLoss,
    'fitnet_down': FitNetLoss,
    'fitnet_up': FitNetLoss,
    'fitnet_kernel': FitNetLoss,
    'at': ATLoss,
    'rkd': RKDLoss,
    'reviewkd': lambda: ReviewKDLoss(weight=5.0),
}


def double(content):
    """Features of the file: a tensor, or a list of them where their shapes differ."""
    try:
        return torch.tensor(content, dtype=torch.float64)
    except ValueError:
        return [double(part) for part in content]


def shapes(features):
    if isinstance(features, torch.Tensor):
        return tuple(features.shape[1:])
    return [shapes(feature) for feature in features]


def ours(name):
    """Our name of a parameter of theirs."""
    name = re.sub(r'abfs\.(\d)', lambda match: f'fusions.{3 - int(match[1])}', name)
    name = name.replace('att_conv.0', 'attention')
    name = re.sub(r'^s\.linear', 'student_embedding', name)
    return re.sub(r'^t\.linear', 'teacher_embedding', name)


def prepared(loss, case):
    student, teacher = double(case['student']), double(case['teacher'])
    loss = loss.double()
    loss.build_projection(shapes(student), shapes(teacher))
    loss.double()
    parameters = dict(loss.named_parameters())
    assert set(parameters) == {ours(name) for name in case['parameters']}
    for name, value in case['parameters'].items():
        parameters[ours(name)].data = double(value)
    return loss, student, teacher


def check(loss, case, student, teacher, *batch):
    tensors = student if isinstance(student, list) else [student]
    for tensor in tensors:
        tensor.requires_grad_()
    value = loss(student, teacher, *batch)['loss']
    names = list(case['parameters'])
    parameters = [dict(loss.named_parameters())[ours(name)] for name in names]
    gradients = torch.autograd.grad(value, tensors + parameters)
    wanted = double(case['grad']) if isinstance(student, list) else [double(case['grad'])]
    wanted += [double(case['parameter_grads'][name]) for name in names]
    assert value.item() == pytest.approx(case['value'], rel=1e-12)
    for got, expected in zip(gradients, wanted):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize('name', LOSSES)
def test_equals_the_authors_code(name):
    loss, student, teacher = prepared(LOSSES[name](), CASES[name])
    check(loss, CASES[name], student, teacher)


def test_crd_equals_the_authors_code():
    """For two steps: the normalisers are those of the first, the memory moved."""
    first, second = CASES['crd_step0'], CASES['crd_step1']
    loss = CRDLoss(num_samples=20, dimensions=6, negatives=9)
    loss, *features = prepared(loss, first)
    loss.student_memory, loss.teacher_memory = (double(m) for m in first['memories'])
    target = torch.zeros(4, dtype=torch.int64)
    for case in (first, second):
        batch = [torch.tensor(case[key]) for key in ('sample_idx', 'contrast_idx')]
        if case is second:
            features = double(case['student']), double(case['teacher'])
        check(loss, case, *features, target, *batch)
    for memory, wanted in zip((loss.student_memory, loss.teacher_memory), second['memories_after']):
        torch.testing.assert_close(memory, double(wanted), rtol=1e-12, atol=0)
    normalisers = torch.stack([loss.student_normaliser, loss.teacher_normaliser])
    torch.testing.assert_close(normalisers, double(second['normalisers']), rtol=1e-12, atol=0)


def test_crd_draws_negatives_of_other_classes():
    loss = CRDLoss(num_samples=60, dimensions=4, negatives=200)
    loss.labels.copy_(torch.arange(60) % 3)
    target, sample_idx = torch.tensor([0, 1, 2]), torch.tensor([3, 1, 2])
    drawn = loss._draw(target, sample_idx)
    assert torch.equal(drawn[:, 0], sample_idx)
    same = loss.labels[drawn[:, 1:]] == target[:, None]
    assert same.float().mean() < 0.05  # a class in three, redrawn three times: 1 in 81
    assert len(drawn.unique()) > 35


def test_crd_is_told_how_many_images_there_are():
    loss = CRDLoss(dimensions=4, negatives=200)
    loss.build_projection((8,), (6,))
    batch = torch.rand(2, 8), torch.rand(2, 6), torch.tensor([0, 1]), torch.tensor([3, 0])
    with pytest.raises(ValueError, match='does not know how many training images there are'):
        loss(*batch)
    before = torch.get_rng_state()
    memory = loss.student_memory
    loss.set_num_samples(12)
    assert torch.equal(torch.get_rng_state(), before)
    assert loss.student_memory is memory  # a wrapper for several ranks keeps a list of them
    assert memory.shape == (12, 4)
    assert 0 < memory.abs().max() <= (3 / 4) ** 0.5
    assert not torch.equal(memory, loss.teacher_memory)
    assert loss.labels.tolist() == [-1] * 12
    assert loss._draw(*batch[2:]).unique().tolist() == list(range(12))
    loss.set_num_samples(12)
    with pytest.raises(ValueError, match=r'num_samples of CRDLoss is 12, but .* 40000'):
        loss.set_num_samples(40_000)


def test_crd_takes_soft_targets_and_remembers_labels():
    loss = CRDLoss(num_samples=9, dimensions=4, negatives=5)
    loss.build_projection((8, 1, 1), (6,))
    shares = torch.tensor([[0.3, 0.7], [1.0, 0.0]])
    loss(torch.rand(2, 8, 1, 1), torch.rand(2, 6), shares, torch.tensor([4, 7]))
    assert loss.labels.tolist() == [-1, -1, -1, -1, 1, -1, -1, 0, -1]
    norms = loss.student_memory[[4, 7]].norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(2))


def test_crd_needs_indices():
    loss = CRDLoss(num_samples=9, negatives=5)
    loss.build_projection((8,), (6,))
    with pytest.raises(ValueError, match='CRDLoss needs the samples to have a sample_idx'):
        loss(torch.rand(2, 8), torch.rand(2, 6), torch.tensor([0, 1]), None)


@pytest.mark.parametrize(
    ('student', 'teacher', 'message'),
    [
        ((4, 3, 3), (4, 8, 8), r"can't bring the student's map \(4, 3, 3\) to .* \(4, 8, 8\)"),
        ((4,), (4,), r'FitNetLoss compares maps \(C, H, W\), not \(4,\) with \(4,\)'),
    ],
)
def test_fitnet_refuses_shapes_it_cant_project(student, teacher, message):
    with pytest.raises(ValueError, match=message):
        FitNetLoss().build_projection(student, teacher)


def test_at_takes_a_single_map():
    student, teacher = torch.rand(2, 3, 4, 4), torch.rand(2, 5, 4, 4)
    assert torch.equal(ATLoss()(student, teacher)['loss'], ATLoss()([student], [teacher])['loss'])


@pytest.mark.parametrize('loss', [ATLoss(), RKDLoss()])
def test_zero_where_the_networks_agree(loss):
    feature = torch.rand(5, 4, 2, 2)
    assert loss(feature, feature)['loss'].item() == 0


@pytest.mark.parametrize('name', ['FitNetLoss', 'ATLoss', 'RKDLoss', 'CRDLoss'])
def test_a_batch_of_one(name):
    """The last of an epoch may be."""
    loss = CRDLoss(num_samples=5, negatives=3) if name == 'CRDLoss' else getattr(losses, name)()
    loss.build_projection((3, 4, 4), (3, 4, 4))
    student = torch.rand(1, 3, 4, 4, requires_grad=True)
    value = loss(student, torch.rand(1, 3, 4, 4), torch.tensor([1]), torch.tensor([4]))['loss']
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()
    assert name != 'RKDLoss' or value == 0


def test_rkd_of_samples_that_are_all_the_same():
    student = torch.zeros(3, 4, requires_grad=True)  # what a dead layer gives
    value = RKDLoss()(student, torch.rand(3, 4))['loss']
    value.backward()
    assert value.isfinite()
    assert not student.grad.any()


def test_reviewkd_of_one_sample_says_what_helps():
    loss = ReviewKDLoss()
    shapes = [(3, 4, 4), (5, 1, 1)]
    loss.build_projection(shapes, shapes)
    features = [torch.rand(1, *shape) for shape in shapes]
    with pytest.raises(ValueError, match=r'at least 2 images in a batch, .* drop_last=True'):
        loss(features, features)
    assert loss.eval()(features, features)['loss'].isfinite()


@pytest.mark.parametrize('loss', [FitNetLoss(), ATLoss(), RKDLoss()])
def test_compares_in_float32_under_autocast(loss):
    student, teacher = torch.rand(4, 3, 2, 2), torch.rand(4, 3, 2, 2)
    loss.build_projection((3, 2, 2), (3, 2, 2))
    plain = loss(student, teacher)['loss']
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value = loss(student, teacher)['loss']
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, plain, rtol=0.02, atol=0)


def test_a_loss_says_its_weight_and_how_it_compares():
    class Gap(FeatureLoss):
        def compare(self, student, teacher):
            return (student - teacher).abs().mean()

    loss = Gap(weight=3.0)(torch.ones(2, 3).half(), torch.zeros(2, 3))
    assert loss == {'loss': 3.0}
    with pytest.raises(ValueError, match='weight must be a finite number of at least 0'):
        Gap(weight=-1)


def test_fusion_keeps_what_the_deeper_stages_give():
    """With the attention shut to its own feature, a stage's output is that of the deeper one."""
    loss = ReviewKDLoss()
    loss.build_projection([(3, 4, 4), (5, 1, 1)], [(3, 4, 4), (5, 1, 1)])
    fusion = loss.fusions[0].eval()
    nn.init.zeros_(fusion.attention.weight)
    fusion.attention.bias.data = torch.tensor([-1e4, 1e4])
    deeper = torch.rand(2, 5, 1, 1)
    _, fused = fusion(torch.rand(2, 3, 4, 4), deeper, (4, 4))
    torch.testing.assert_close(fused, deeper.expand(2, 5, 4, 4))
