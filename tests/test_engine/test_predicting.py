"""Logits over whole data sets."""

import re
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from mmengine.config import Config

from aekt_mm.engine.predicting import logits_identity, student_logits, teacher_logits
from aekt_mm.evaluation import measure
from aekt_mm.models.teachers import Teacher
from aekt_mm.registry import MODELS, build

pytestmark = pytest.mark.stack


def test_logits_are_kept_for_one_teacher_and_one_set_of_images(digits_recipe, tmp_path):
    logits = teacher_logits(digits_recipe)
    assert teacher_logits(digits_recipe, tmp_path).equal(logits)
    (kept,) = tmp_path.glob('teacher_logits_*.npz')
    assert np.load(kept)['identity'] == logits_identity(digits_recipe)

    # what is kept is taken, and nothing is run
    np.savez(kept, logits=np.ones_like(logits), identity=logits_identity(digits_recipe))
    assert teacher_logits(digits_recipe, tmp_path).equal(torch.ones_like(logits))

    # of other images it is not
    digits_recipe.test_dataloader.dataset.split = 'train'
    others = teacher_logits(digits_recipe)
    assert len(others) != len(logits)
    assert teacher_logits(digits_recipe, tmp_path).equal(others)


class Constant(Teacher):
    num_classes = 10

    def __init__(self, level=1.0):
        super().__init__()
        self.level = level

    def forward(self, inputs, data_samples=None):
        return inputs.new_full((len(inputs), 10), self.level)


def constant(level=1.0):
    return lambda inputs, data_samples: inputs.new_full((len(inputs), 10), level)


@pytest.mark.parametrize('kind', [Constant, constant])
def test_a_teacher_of_the_users_own_is_another_with_another_option(kind, digits_recipe, tmp_path):
    for level in (1.0, 5.0, 1.0):
        digits_recipe.model.teacher = dict(type=kind, level=level)
        assert (teacher_logits(digits_recipe, tmp_path) == level).all()
    assert len(list(tmp_path.glob('teacher_logits_*.npz'))) == 2


def test_a_student_that_learned_from_features_too(digits_recipe, tmp_path):
    path = tmp_path / 'epoch_1.pth'
    hint = dict(student='backbone.layer3', teacher='backbone.layer3', loss=dict(type='FitNetLoss'))
    preprocessor = digits_recipe.data_preprocessor
    plain = digits_recipe.model
    model = dict(plain, data_preprocessor=preprocessor, features=dict(hint=hint))
    state = build(MODELS, model).state_dict()
    torch.save(dict(state_dict=state), path)
    digits_recipe.model = model
    logits, labels = student_logits(digits_recipe, path)
    digits_recipe.model = plain
    assert student_logits(digits_recipe, path)[0].equal(logits)

    without = {name: value for name, value in state.items() if not name.startswith('features.')}
    assert len(without) < len(state)
    torch.save(dict(state_dict=without), path)
    assert student_logits(digits_recipe, path)[0].equal(logits)
    assert len(labels) == len(logits) and logits.std() > 0

    # what predictions are made with is not left out
    digits_recipe.model.connector = None
    with pytest.raises(ValueError, match='left over: connector'):
        student_logits(digits_recipe, path)


def test_labels_are_classes_where_batches_are_mixed(tmp_path):
    """mmpretrain's preprocessor gives class shares in evaluation too."""
    network = dict(
        type='ImageClassifier',
        backbone=dict(type='CIFARResNet', depth=8, stage_channels=(8, 8, 8, 8)),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=5, in_channels=8),
        train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8)]),
    )
    for label in range(5):
        for index in range(2):
            image = np.full((8, 8, 3), 40 * label + index, np.uint8)
            mmcv.imwrite(image, str(tmp_path / f'images/{label}/{index}.png'))
    dataset = dict(
        type='CustomDataset',
        data_root=str(tmp_path / 'images'),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
    )
    cfg = Config(
        dict(
            model=dict(
                type='LogitDistiller',
                student=network,
                teacher=None,
                losses=dict(kd=dict(type='KDLoss')),
            ),
            data_preprocessor=dict(mean=[120.0] * 3, std=[60.0] * 3, to_rgb=True),
            test_dataloader=dict(
                dataset=dataset,
                batch_size=4,
                sampler=dict(type='DefaultSampler', shuffle=False),
                collate_fn=dict(type='default_collate'),
            ),
        )
    )
    model = dict(cfg.model, data_preprocessor=cfg.data_preprocessor)
    torch.save(build(MODELS, model).state_dict(), tmp_path / 'student.pth')
    logits, labels = student_logits(cfg, tmp_path / 'student.pth')
    assert labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert measure(logits, labels)['top1'] == (logits.argmax(1) == labels).double().mean() * 100


def test_how_far_a_teachers_logits_spread(digits_recipe, tmp_path, capsys):
    """The snippet of docs/en/choosing.md."""
    page = Path(__file__).parents[2] / 'docs/en/choosing.md'
    code = re.search(r'^  ```python\n(.*?)^  ```', page.read_text('utf-8'), re.M | re.S)[1]
    recipe = tmp_path / 'recipe.py'
    digits_recipe.dump(recipe)
    exec(
        re.sub('^  ', '', code, flags=re.M).replace('kd_resnet20_resnet8_cifar100_8e', f'{recipe}')
    )
    spreads = []
    for row in teacher_logits(digits_recipe).double().numpy():
        others = np.delete(row, row.argmax())
        spreads.append(np.sqrt(((others - others.mean()) ** 2).sum() / (len(others) - 1)))
    printed = float(re.search(r'[\d.]+', capsys.readouterr().out.splitlines()[-1])[0])
    assert printed == pytest.approx(np.mean(spreads), abs=1e-4)
