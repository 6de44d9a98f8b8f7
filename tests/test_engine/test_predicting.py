"""Logits over whole data sets."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from aekt_mm.engine.predicting import logits_identity, student_logits, teacher_logits
from aekt_mm.registry import MODELS, build


def test_logits_are_kept_for_one_teacher_and_one_set_of_images(digits_recipe, tmp_path):
    kept = tmp_path / 'teacher_logits.npz'
    logits = teacher_logits(digits_recipe)
    assert teacher_logits(digits_recipe, kept).equal(logits)
    assert np.load(kept)['identity'] == logits_identity(digits_recipe)

    # what is kept is taken, and nothing is run
    np.savez(kept, logits=np.ones_like(logits), identity=logits_identity(digits_recipe))
    assert teacher_logits(digits_recipe, kept).equal(torch.ones_like(logits))

    # of other images it is not
    digits_recipe.test_dataloader.dataset.split = 'train'
    others = teacher_logits(digits_recipe)
    assert len(others) != len(logits)
    assert teacher_logits(digits_recipe, kept).equal(others)


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
