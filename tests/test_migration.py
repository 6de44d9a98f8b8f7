"""docs/en/migration.md to the letter: each loss of its tables is the loss that it stands beside.

What the other projects compute is written out here in float64, from their formulas.
"""

import math
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from aekt_mm.models import losses
from aekt_mm.recipes import find_recipe

PAGE = (Path(__file__).parents[1] / 'docs/en/migration.md').read_text(encoding='utf-8')
ROW = re.compile(r'^\| `(\w+\([^`]*\))` \| `(\w+\([^`]*\))`(.*) \|$', re.MULTILINE)
N, C = 6, 10
#: What the letters of the tables stand for.
SYMBOLS = dict(N=N, C=C, T=3.0, w=2.5, a=0.3, b=1.7, g=0.6)


def rows(project):
    section = re.search(rf'^## {project}\n(.*?)(?=^## |\Z)', PAGE, re.MULTILINE | re.DOTALL)[1]
    return ROW.findall(section)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    student, teacher = (3 * torch.randn(N, C, dtype=torch.float64) for _ in range(2))
    return student, teacher, torch.randint(C, (N,))


def probabilities(logits, temperature):
    """A row a sample, as numbers of Python."""
    powers = [[math.exp(value / temperature) for value in row] for row in logits.tolist()]
    return [[value / sum(row) for value in row] for row in powers]


def kl(teacher, student):
    return sum(t * math.log(t / s) for t, s in zip(teacher, student))


def correlation(left, right):
    mean = sum(left) / len(left), sum(right) / len(right)
    left, right = [x - mean[0] for x in left], [x - mean[1] for x in right]
    norms = math.sqrt(sum(x * x for x in left) * sum(x * x for x in right))
    return sum(x * y for x, y in zip(left, right)) / (norms + 1e-8)


def divergence(student, teacher, temperature, reduction):
    """T² times the divergence, summed over a batch and divided as torch's kl_div does."""
    pairs = zip(probabilities(teacher, temperature), probabilities(student, temperature))
    parts = {'batchmean': N, 'mean': N * C, 'sum': 1}[reduction]
    return temperature**2 * sum(kl(t, s) for t, s in pairs) / parts


def dist(student, teacher, temperature, inter, intra):
    student, teacher = (probabilities(logits, temperature) for logits in (student, teacher))
    rows = [1 - correlation(s, t) for s, t in zip(student, teacher)]
    columns = [1 - correlation(s, t) for s, t in zip(zip(*student), zip(*teacher))]
    return temperature**2 * (inter * sum(rows) / len(rows) + intra * sum(columns) / len(columns))


class MMRazor:
    """Its losses of a batch."""

    def __init__(self, student, teacher, target):
        self.logits, self.target = (student, teacher), target.tolist()

    def KLDivergence(self, tau=1.0, reduction='batchmean', loss_weight=1.0):
        return loss_weight * divergence(*self.logits, tau, reduction)

    def DKDLoss(self, tau=1.0, alpha=1.0, beta=1.0, loss_weight=1.0):
        """The sum over the batch, whatever ``reduction`` says."""
        total = 0
        student, teacher = (probabilities(logits, tau) for logits in self.logits)
        for s, t, label in zip(student, teacher, self.target):
            others = [
                [value / (1 - row[label]) for k, value in enumerate(row) if k != label]
                for row in (t, s)
            ]
            both = [[row[label], 1 - row[label]] for row in (t, s)]
            total += alpha * kl(*both) + beta * kl(*others)
        return loss_weight * tau**2 * total

    def DISTLoss(self, inter_loss_weight=1.0, intra_loss_weight=1.0, tau=1.0, loss_weight=1.0):
        return loss_weight * dist(*self.logits, tau, inter_loss_weight, intra_loss_weight)


class Torchdistill:
    """Its losses of a batch, those of the labels included."""

    def __init__(self, student, teacher, target):
        self.logits, self.target = (student, teacher), target.tolist()

    def KDLoss(self, temperature, alpha=None, beta=None, reduction='batchmean'):
        soft = divergence(*self.logits, temperature, reduction)
        if not alpha:
            return soft / temperature**2
        labels = zip(probabilities(self.logits[0], 1.0), self.target)
        cross_entropy = -sum(math.log(row[label]) for row, label in labels) / N
        return alpha * cross_entropy + (1 - alpha if beta is None else beta) * soft

    def DISTLoss(self, beta=1.0, gamma=1.0, tau=1.0):
        return dist(*self.logits, tau, beta, gamma)


@pytest.mark.parametrize(
    ('project', 'kind', 'theirs', 'ours', 'rest'),
    [
        pytest.param(project, kind, *row, id=row[0])
        for project, kind in (('MMRazor', MMRazor), ('torchdistill', Torchdistill))
        for row in rows(project)
    ],
)
def test_a_row_of_losses_is_one_loss(project, kind, theirs, ours, rest, batch):
    student, teacher, target = batch
    name, options = theirs.split('(', 1)
    options = eval(f'dict({options}', dict(SYMBOLS))
    expected = getattr(kind(*batch), name)(**options)
    loss = eval(ours, {**vars(losses), **SYMBOLS})
    parts = loss(student, teacher, target)
    found = sum(value for key, value in parts.items() if 'loss' in key)
    label = re.search(r'`label_weight=(\w+)`', rest)
    if label:
        found += eval(label[1], dict(SYMBOLS)) * torch.nn.functional.cross_entropy(student, target)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_every_loss_has_its_row():
    assert [row[0].split('(')[0] for row in rows('MMRazor')] == [
        *(['KLDivergence'] * 3),
        'DKDLoss',
        'DISTLoss',
    ]
    assert [row[0].split('(')[0] for row in rows('torchdistill')] == [*(['KDLoss'] * 3), 'DISTLoss']


def test_what_mmrazors_dist_config_computes(batch):
    """Its one config for ImageNet: parts of 1, and 2 for the whole."""
    expected = MMRazor(*batch).DISTLoss(1.0, 1.0, tau=1, loss_weight=2)
    ours = re.search(r'`loss_weight=2` over parts of 1, which is\s+`(.*?)`', PAGE)[1]
    found = sum(eval(ours, vars(losses))(*batch).values())
    assert found.item() == pytest.approx(expected, rel=1e-7)


def test_torchdistills_sample_has_its_own_schedule(tmp_path):
    """The settings of configs/sample/ilsvrc2012/kd/resnet18_from_resnet34.yaml."""
    text = re.search(r'```python\n(# from_torchdistill\.py\n.*?)```', PAGE, re.DOTALL)[1]
    (tmp_path / 'mine.py').write_text(text)
    cfg = Config.fromfile(tmp_path / 'mine.py')
    assert cfg.optim_wrapper.optimizer.to_dict() == dict(
        type='SGD', lr=1e-4, momentum=0.9, weight_decay=5e-4
    )
    schedule = cfg.param_scheduler
    assert (schedule.type, schedule.milestones, schedule.gamma) == ('MultiStepLR', [5, 15], 0.1)
    assert (cfg.train_cfg.max_epochs, cfg.train_dataloader.batch_size) == (20, 32)
    assert cfg.auto_scale_lr.base_batch_size == 32  # -adjust_lr multiplies by the number of GPUs
    assert cfg.model.label_weight == 0.5
    assert cfg.model.losses.kd.to_dict() == dict(type='KDLoss', temperature=1.0, alpha=0.5)
    recipe = Config.fromfile(find_recipe('aekt_mm::kd/kd_r34_r18_imagenet.py'))
    assert cfg.model.teacher == recipe.model.teacher
