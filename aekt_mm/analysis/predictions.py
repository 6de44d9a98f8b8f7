"""Predictions of students and teachers for the same images."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmengine.registry import init_default_scope
from torch import Tensor
from torch.utils.data import Dataset

from aekt_mm.engine.class_names import check_classes
from aekt_mm.engine.launching import check_files
from aekt_mm.engine.predicting import logits_identity, student_logits, teacher_logits
from aekt_mm.registry import DATASETS, SCOPE, build

from .runs import Run


@dataclass(frozen=True)
class Predictions:
    """Logits of several runs for one set of images.

    Attributes:
        labels: (N,) int64.
        classes: C names.
        students: (N, C) float32 by run.
        teachers: (N, C) float32 by run, for those that have one. A run without takes the others'
            teacher, where there is one.
        dataset: The images.
        notes: Who has no teacher, and why; a sentence each.
    """

    labels: Tensor
    classes: Sequence[str]
    students: dict[str, Tensor]
    teachers: dict[str, Tensor]
    dataset: Dataset
    notes: list[str] = field(default_factory=list)

    def pairs(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return student's and teacher's logits of the runs that have a teacher."""
        return {run: (self.students[run], teacher) for run, teacher in self.teachers.items()}

    def networks(self) -> dict[str, Tensor]:
        """Return the logits of all students, and of each teacher once."""
        found = dict(self.students)
        for run, teacher in self.teachers.items():
            if not any(teacher is other for other in found.values()):
                found['teacher' if 'teacher' not in found else f'teacher of {run}'] = teacher
        return found

    def named(self, names: dict[str, str]) -> 'Predictions':
        """Return the predictions of some of the runs under other names, by their own."""
        students = {new: self.students[run] for run, new in names.items()}
        teachers = {new: self.teachers[run] for run, new in names.items() if run in self.teachers}
        return replace(self, students=students, teachers=teachers)


class NothingToPredict(ValueError):
    """A run has no checkpoint, or its recipe no test images."""


def predict(runs: Sequence[Run], kept: Path | None = None) -> Predictions:
    """Run the students, and each teacher once, over the test images of the runs.

    Args:
        runs: With checkpoints.
        kept: The folder where the teachers' logits are kept, see
            :func:`~aekt_mm.engine.predicting.keep_teacher_logits`.

    Raises:
        FileNotFoundError: If the images are not there.
        ValueError: If the runs' test images are not the same, or a checkpoint does not fit.
        NothingToPredict: If a run has no checkpoint or no test images.
    """
    students, teachers, notes = {}, {}, []
    known: dict[str, Tensor] = {}
    labels: Tensor | None = None
    data = runs[0]
    for run in runs:
        cfg = copy.deepcopy(run.cfg)
        if run.checkpoint is None:
            raise NothingToPredict(f'{run.name} has no checkpoint: name it as RECIPE=CHECKPOINT')
        if cfg.get('test_dataloader') is None:
            raise NothingToPredict(f'the config of {run.name} has no test_dataloader')
        cfg.load_from = None
        teacher = cfg.model.get('teacher')
        if 'teacher' in cfg.model:
            cfg.model.teacher = None
        check_files(cfg, 'test_dataloader')
        check_classes(cfg)
        students[run.name], own = student_logits(cfg, run.checkpoint)
        if labels is None:
            labels, data = own, run
        elif not own.equal(labels):
            raise ValueError(
                f'{data.name} and {run.name} do not have the same test images, and can not be '
                'compared'
            )
        if teacher is None:
            continue
        cfg.model.teacher = teacher.get('online', teacher)  # of a cache, what it was made of
        try:
            identity = logits_identity(cfg)
            if identity not in known:
                check_files(cfg)
                known[identity] = teacher_logits(cfg, kept)
            teachers[run.name] = known[identity]
        except (OSError, ValueError) as error:
            notes.append(f'{run.name} is shown without its teacher: {error}.')
    if len(known) == 1:
        teachers = {run.name: next(iter(known.values())) for run in runs}
    alone = [run.name for run in runs if run.name not in teachers]
    if alone and not notes:
        notes.append(f'There is no teacher to compare {", ".join(alone)} with.')
    init_default_scope(data.cfg.get('default_scope', SCOPE))
    dataset = build(DATASETS, data.cfg.test_dataloader.dataset)
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    if classes is None:
        classes = [str(number) for number in range(next(iter(students.values())).shape[1])]
    assert labels is not None  # there is a run
    return Predictions(labels, list(classes), students, teachers, dataset, notes)
