"""Runs that have ended, predictions made up, and files of studies."""

from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer

from aekt_mm.analysis.predictions import Predictions
from aekt_mm.datasets import ArrayDataset
from aekt_mm.engine.launching import build_runner
from aekt_mm.models.classifiers import build_classifier

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='session')
def finished(tmp_path_factory):
    """A folder of digits runs of two epochs: AEKT with two seeds, and a student alone."""
    pytest.importorskip('sklearn')
    folder = tmp_path_factory.mktemp('finished')
    recipe = ROOT / 'configs/aekt/aekt_resnet20_resnet8slim_digits.py'
    torch.manual_seed(1)
    network = Config.fromfile(recipe).model.teacher.model
    network.backbone.depth = 8
    teacher, _ = build_classifier(network.copy())
    torch.save(teacher.state_dict(), folder / 'teacher.pth')
    for name in ('aekt_0', 'aekt_1', 'alone'):
        cfg = Config.fromfile(recipe)
        if name == 'alone':
            cfg = Config.fromfile(ROOT / 'configs/vanilla/vanilla_resnet8slim_digits.py')
        else:
            cfg.model.teacher.update(model=network, checkpoint=str(folder / 'teacher.pth'))
            cfg.randomness.seed = int(name[-1])
        cfg.work_dir, cfg.launcher = str(folder / name), 'none'
        cfg.experiment_name = f'{folder.name}_{name}'
        cfg.train_cfg.max_epochs, cfg.param_scheduler.total_steps = 2, 2
        cfg.train_cfg.val_interval = 1
        cfg.default_hooks.logger.interval = 10
        if name == 'aekt_0':
            cfg.visualizer.vis_backends.append(dict(type='TensorboardVisBackend'))
        for kind in (MMLogger, MessageHub, Visualizer):
            kind._instance_dict.clear()
        build_runner(cfg).train()
    return folder


@pytest.fixture
def predictions():
    """Logits of two students and a teacher for 90 images of 6 classes; a third has no teacher."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 6
    teacher = 2 * torch.randn(90, 6, generator=generator)
    teacher[range(90), labels] += 3
    near = teacher + 0.5 * torch.randn(90, 6, generator=generator)
    far = teacher + 3 * torch.randn(90, 6, generator=generator)
    images = torch.randint(256, (90, 8, 8, 3), generator=generator, dtype=torch.uint8).numpy()
    classes = ['cat', 'dog', 'car', '<b>bus</b>', 'oak', '$x^2$']
    students = dict(near=near, far=far)
    teachers = dict(near=teacher, far=teacher)
    return Predictions(
        labels, classes, students, teachers, ArrayDataset(images, labels.numpy(), classes)
    )


@pytest.fixture
def study_file():
    """What writes a study's file into a folder: DKD on the digits, and what it is given."""
    dkd = str(ROOT / 'configs/dkd/dkd_resnet20_resnet8slim_digits.py')

    def write(folder: Path, **content) -> Path:
        path = folder / 'study.yaml'
        given = dict(baseline='dkd', seeds=[0, 1], arms=dict(dkd=dict(recipe=dkd)))
        path.write_text(yaml.safe_dump({**given, **content}), encoding='utf-8')
        return path

    return write
