"""Logits over whole data sets."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from aekt_mm.engine.predicting import logits_identity, teacher_logits


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
