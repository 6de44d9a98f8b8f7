"""Logits over whole data sets."""

import numpy as np
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
