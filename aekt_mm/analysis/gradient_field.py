"""The gradients of distillation losses over the two confidences, from the losses' own code."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from torch import Tensor, nn

from aekt_mm.models.losses import DistillLoss, KDLoss, bernoulli_kl
from aekt_mm.models.losses.logit_loss import LogitLoss
from aekt_mm.registry import MODELS, build

from .drawing import AMOUNT, BALANCE, INK
from .findings import Findings, Panel, Table
from .runs import Run

#: Confidences in each direction.
GRID = 41

#: Where the table looks: the teacher's and the student's confidence.
POINTS = ((0.9, 0.1), (0.9, 0.5), (0.9, 0.85), (0.5, 0.1), (0.5, 0.5), (0.5, 0.9))

TEXT = (
    'What a loss does to a sample, by how sure the teacher and the student are of its true class. '
    'Explicit: the pull on the logit of the true class, positive upwards (minus the gradient of '
    'the loss), and a line where there is none. Implicit: how hard the other classes are moved '
    'towards the teacher (the sum of the sizes of their gradients). Both come from the losses of '
    "the runs by autograd, with the runs' weights and temperatures. The other classes: alike to "
    'the student, and to the teacher one half, one third, one fourth, ... as likely as its first. '
    'A temperature weighs them anew, so that the pull need not end where the confidences are equal.'
)


class Field(NamedTuple):
    """Gradients over a grid: (rows, columns), rows the student's confidences.

    ``pull`` is of the true class, ``implicit`` of the others.
    """

    pull: np.ndarray
    implicit: np.ndarray


def gradient_field(
    losses: Sequence[nn.Module], teacher: Tensor, student: Tensor, classes: int
) -> Field:
    """Differentiate losses on logits for given confidences.

    Args:
        losses: On logits, each sample of which counts for itself; their parts add up.
        teacher: Confidences in the true class, (n,), between 0 and 1.
        student: Confidences in the true class, (m,), between 0 and 1.
        classes: C.

    Returns:
        Fields (m, n).
    """
    rows, columns = torch.meshgrid(student.double(), teacher.double(), indexing='ij')
    alike = torch.full((classes - 1,), 1 / (classes - 1), dtype=torch.float64)
    falling = 1 / torch.arange(1, classes, dtype=torch.float64)
    student_logits = _logits(rows.flatten(), alike).requires_grad_()
    teacher_logits = _logits(columns.flatten(), falling / falling.sum())
    target = torch.zeros(len(student_logits), dtype=torch.int64)
    explicit, implicit = torch.zeros_like(student_logits), torch.zeros_like(student_logits)
    for loss in losses:
        if isinstance(loss, KDLoss):
            loss = _KDInParts(loss)
        parts = loss(student_logits, teacher_logits, target)
        for name, part in parts.items():
            if 'loss' not in name or not part.requires_grad:
                continue
            # the loss is the mean over the samples
            (gradient,) = torch.autograd.grad(part * len(target), student_logits, retain_graph=True)
            explicit += gradient
            if 'explicit' not in name:
                implicit += gradient
    shape = rows.shape
    return Field(
        -explicit[:, 0].reshape(shape).numpy(),
        implicit[:, 1:].abs().sum(1).reshape(shape).numpy(),
    )


class _KDInParts(DistillLoss):
    """KD as the explicit and the implicit part that it sums up to (Zhao et al., 2022, eq. 5)."""

    def __init__(self, loss: KDLoss) -> None:
        super().__init__(loss.temperature, loss.transform)
        self.alpha = loss.alpha

    def terms(
        self, student_margin: Tensor, teacher_margin: Tensor, nontarget_kl: Tensor
    ) -> dict[str, Tensor]:
        """See :meth:`DistillLoss.terms`."""
        return {
            'loss_explicit': self.alpha * bernoulli_kl(student_margin, teacher_margin),
            'loss_implicit': self.alpha * (-teacher_margin).sigmoid() * nontarget_kl,
        }


def _logits(confidence: Tensor, others: Tensor) -> Tensor:
    """Return logits (N, C) whose softmax has the confidence first and the rest in proportion."""
    rest = (1 - confidence)[:, None] * others
    return torch.cat([confidence[:, None], rest], 1).log()


def gradient_fields(runs: Sequence[Run], classes: int = 100) -> Findings:
    """Draw the gradients of the runs' losses on logits.

    Args:
        runs: Runs or recipes.
        classes: C.

    Returns:
        Tables of some points and of the whole grid; for each run a picture of the pull on the true
        class and one of that on the others.
    """
    confidences = torch.linspace(0.01, 0.99, GRID)
    fields, points, notes = {}, {}, []
    for run in runs:
        configs = run.cfg.model.get('losses') or {}
        built = {name: build(MODELS, dict(config)) for name, config in configs.items()}
        coupled = [name for name, loss in built.items() if not _by_sample(loss)]
        if not built:
            notes.append(f'{run.name} has no loss on logits.')
        elif coupled:
            notes.append(
                f'{run.name} is left out: {", ".join(coupled)} couples the samples of a batch, so '
                'that there is no gradient of a sample by itself.'
            )
        else:
            losses = list(built.values())
            fields[run.name] = gradient_field(losses, confidences, confidences, classes)
            points[run.name] = {
                f'T {teacher:g}, S {student:g}': gradient_field(
                    losses, torch.tensor([teacher]), torch.tensor([student]), classes
                ).pull.item()
                for teacher, student in POINTS
            }
    if not fields:
        return Findings('Gradient field', TEXT, notes=notes)
    strongest = max(np.abs(field.pull).max() for field in fields.values())
    most = max(field.implicit.max() for field in fields.values())
    panels = []
    for name, field in fields.items():
        panels += [
            _panel(f'Explicit: {name}', field.pull, BALANCE, (-strongest, strongest)),
            _panel(f'Implicit: {name}', field.implicit, AMOUNT, (0, most)),
        ]
    row, column = np.meshgrid(confidences.numpy(), confidences.numpy(), indexing='ij')
    grid = pd.concat(
        pd.DataFrame(
            {
                'run': name,
                'teacher': column.ravel(),
                'student': row.ravel(),
                'explicit': field.pull.ravel(),
                'implicit': field.implicit.ravel(),
            }
        )
        for name, field in fields.items()
    )
    title = "Pull on the true class, by the teacher's (T) and the student's (S) confidence"
    tables = [
        Table('gradient_points', pd.DataFrame.from_dict(points, orient='index'), title),
        Table('gradient_field', grid, 'The whole field', 6, place='file'),
    ]
    return Findings('Gradient field', TEXT, tables, panels, notes=notes)


def _by_sample(loss: nn.Module) -> bool:
    return isinstance(loss, LogitLoss) and type(loss).of_batch is LogitLoss.of_batch


def _panel(title: str, values: np.ndarray, colors: Colormap, limits: tuple[float, float]) -> Panel:
    def draw(axes: Axes) -> None:
        image = axes.imshow(
            values,
            cmap=colors,
            vmin=limits[0],
            vmax=limits[1],
            origin='lower',
            extent=(0, 1, 0, 1),
            interpolation='bilinear',
        )
        axes.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=(0, (4, 3)), alpha=0.6)
        if values.min() < 0 < values.max():
            ends = np.linspace(0, 1, GRID)
            axes.contour(ends, ends, values, levels=[0], colors=[INK], linewidths=1)
        axes.grid(False)
        axes.set_xlabel("teacher's confidence")
        axes.set_ylabel("student's confidence")
        axes.figure.colorbar(image, ax=axes, shrink=0.8, pad=0.03).outline.set_visible(False)

    return Panel(title, draw, 4.0, 3.2)
