"""A recipe's teacher, evaluated as the student's training sees it."""

from collections.abc import Sequence

from mmengine.config import Config
from mmengine.model import BaseModel, is_model_wrapper
from mmengine.runner import Runner
from mmpretrain.models.heads import ClsHead
from mmpretrain.structures import DataSample
from torch import Tensor

from aekt_mm.models.distillers import LogitDistiller
from aekt_mm.registry import type_name


class TeacherAlone(BaseModel):
    """Predicts with a distiller's teacher, from the images that the student is given.

    Args:
        distiller: With a teacher, which has been adapted to the student's images.
    """

    def __init__(self, distiller: LogitDistiller) -> None:
        super().__init__(data_preprocessor=distiller.data_preprocessor)
        self.teacher = distiller.teacher
        self.head = ClsHead()

    def forward(
        self, inputs: Tensor, data_samples: Sequence[DataSample], mode: str = 'predict'
    ) -> list[DataSample]:
        """Add predictions to the samples of a batch.

        Args:
            inputs: Images as the student sees them, (N, 3, H, W).
            data_samples: N samples.
            mode: Not looked at: a teacher does nothing else.
        """
        return self.head._get_predictions(self.teacher(inputs, data_samples), data_samples)


def check_teacher(cfg: Config) -> None:
    """Check that a recipe has a teacher that can be shown other images than the training's.

    Raises:
        ValueError: If it has none, or a cached one.
    """
    teacher = cfg.model.get('teacher')
    if teacher is None:
        raise ValueError('--teacher: the model of this recipe has no teacher')
    if type_name(teacher) == 'CachedTeacher':
        raise ValueError(
            '--teacher: a cached teacher has logits of the training set alone; evaluate the online '
            'teacher that it was made of'
        )


def put_teacher_in_place(runner: Runner) -> None:
    """Let a runner test its distiller's teacher instead of the student."""
    distiller = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if hasattr(distiller.teacher, 'attach'):
        distiller.teacher.attach(runner.test_loop.dataloader, distiller.data_preprocessor, None)
    runner.model = TeacherAlone(distiller)
