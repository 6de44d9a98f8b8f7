"""Gradient fields against differences of the losses as their papers write them, in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config

from aekt_mm.analysis.gradient_field import gradient_field, gradient_fields
from aekt_mm.analysis.runs import Run
from aekt_mm.models.losses import DKDLoss, KDLoss

TEACHER, STUDENT = torch.tensor([0.2, 0.9]), torch.tensor([0.1, 0.5, 0.95])
CLASSES, T = 7, 4.0


def logits(confidence, others):
    rest = torch.tensor(others, dtype=torch.float64)
    rest = (1 - confidence) * rest / rest.sum()
    return torch.cat([torch.tensor([confidence], dtype=torch.float64), rest]).log()


def kd(student, teacher):
    log_q, p = F.log_softmax(student / T, 0), F.softmax(teacher / T, 0)
    return T**2 * F.kl_div(log_q, p, reduction='sum')


def dkd(student, teacher, alpha=0.7, beta=3.0):
    p, q = F.softmax(teacher / T, 0), F.softmax(student / T, 0)
    target = p[0] * (p[0] / q[0]).log() + (1 - p[0]) * ((1 - p[0]) / (1 - q[0])).log()
    p, q = F.softmax(teacher[1:] / T, 0), F.softmax(student[1:] / T, 0)
    return T**2 * (alpha * target + beta * (p * (p / q).log()).sum())


@pytest.mark.parametrize(
    ('loss', 'written'), [(KDLoss(T), kd), (DKDLoss(T, alpha=0.7, beta=3.0), dkd)]
)
def test_pull_is_the_slope_of_the_loss(loss, written):
    field = gradient_field([loss], TEACHER, STUDENT, CLASSES)
    assert field.pull.shape == (3, 2)
    for row, student in enumerate(STUDENT.double().tolist()):
        for column, teacher in enumerate(TEACHER.double().tolist()):
            at = logits(student, [1] * (CLASSES - 1))
            of_teacher = logits(teacher, [1 / k for k in range(1, CLASSES)])
            step = torch.zeros(CLASSES, dtype=torch.float64)
            step[0] = 1e-6
            slope = (written(at + step, of_teacher) - written(at - step, of_teacher)) / 2e-6
            assert field.pull[row, column] == pytest.approx(-slope.item(), rel=1e-4, abs=1e-7)


def test_what_decoupling_does():
    """KD's hold on the other classes fades as the teacher grows sure, DKD's does not."""
    sure = torch.tensor([0.5, 0.999])
    coupled = gradient_field([KDLoss(1.0)], sure, STUDENT, CLASSES).implicit
    decoupled = gradient_field([DKDLoss(1.0)], sure, STUDENT, CLASSES).implicit
    np.testing.assert_allclose(coupled[:, 1] / coupled[:, 0], 0.002, rtol=1e-3)
    np.testing.assert_allclose(decoupled[:, 1], decoupled[:, 0], rtol=1e-6)


def recipe(name, **losses):
    return Run(name, Config(dict(model=dict(losses=losses))))


def test_of_recipes():
    runs = [
        recipe('aekt', aekt=dict(type='AEKTLoss')),
        recipe('dist', dist=dict(type='DISTLoss')),
        recipe('alone'),
    ]
    findings = gradient_fields(runs, classes=10)
    assert [panel.title for panel in findings.panels] == ['Explicit: aekt', 'Implicit: aekt']
    assert findings.notes[0].startswith('dist is left out: dist couples the samples')
    assert findings.notes[1] == 'alone has no loss on logits.'
    points, field = (table.frame for table in findings.tables)
    assert points.loc['aekt', 'T 0.9, S 0.1'] > points.loc['aekt', 'T 0.9, S 0.5'] > 0
    assert len(field) == 41 * 41
