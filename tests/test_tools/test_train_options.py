"""What the options of tools/train.py change."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

from aekt_mm.models.checkpoints import load_restricted

ROOT = Path(__file__).parents[2]


@pytest.fixture
def train(digits_recipe, tmp_path, monkeypatch):
    """Train the short digits recipe with options, in this process; return what was saved."""
    digits_recipe.train_cfg.max_epochs = 1
    digits_recipe.train_cfg.val_interval = 1

    def train(name, *options):
        recipe, work_dir = tmp_path / f'{name}.py', tmp_path / name
        digits_recipe.experiment_name = (
            f'{tmp_path.name}_{name}'  # runs of a name in a second share a log
        )
        digits_recipe.dump(recipe)
        command = ['tools/train.py', str(recipe), '--work-dir', str(work_dir), *options]
        monkeypatch.setattr(sys, 'argv', command)
        runpy.run_path(str(ROOT / 'tools/train.py'), run_name='__main__')
        return load_restricted(work_dir / 'epoch_1.pth')

    yield train
    torch.use_deterministic_algorithms(False)


def test_the_seed_decides_and_is_remembered(train):
    one, two, other = (
        train(name, '--seed', seed, '--deterministic', '--no-validate')
        for name, seed in (('one', '3'), ('two', '3'), ('other', '4'))
    )
    assert torch.are_deterministic_algorithms_enabled()
    assert [saved['meta']['seed'] for saved in (one, two, other)] == [3, 3, 4]
    for name, weight in one['state_dict'].items():
        assert weight.equal(two['state_dict'][name]), name
    head = 'student.head.fc.weight'
    assert not one['state_dict'][head].equal(other['state_dict'][head])


def test_the_learning_rate_follows_the_batch_size(train, digits_recipe):
    digits_recipe.train_dataloader.batch_size = 128
    digits_recipe.auto_scale_lr.base_batch_size = 32
    digits_recipe.param_scheduler = None
    plain, scaled = train('plain'), train('scaled', '--auto-scale-lr')
    lrs = [saved['optimizer']['param_groups'][0]['lr'] for saved in (plain, scaled)]
    assert lrs[1] == pytest.approx(4 * lrs[0])


def test_scaling_without_a_base_is_refused(train, digits_recipe):
    del digits_recipe._cfg_dict['auto_scale_lr']
    with pytest.raises(SystemExit, match=r'train: --auto-scale-lr: .*base_batch_size'):
        train('run', '--auto-scale-lr')


def test_validation_is_left_out_when_told(train, tmp_path):
    train('with')
    train('without', '--no-validate')
    logs = [next((tmp_path / name).glob('*/*.log')).read_text() for name in ('with', 'without')]
    assert ['Epoch(val)' in log for log in logs] == [True, False]


def test_features_of_a_cached_teacher_are_refused(train, digits_recipe):
    path = 'backbone.layer3'
    hint = dict(student=path, teacher=path, loss=dict(type='FitNetLoss'))
    digits_recipe.model.features = dict(hint=hint)
    with pytest.raises(SystemExit, match=r'a cached teacher has no features, .* model.features'):
        train('run', '--cached-teacher', 'folder')
