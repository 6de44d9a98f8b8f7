"""A study's trials are run side by side, kept, and not run again; a failed one ends no other."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
import yaml
from mmengine.config import Config
from ray._private import ray_constants, services

from aekt_mm.analysis import running
from aekt_mm.analysis.running import (
    cache_folders,
    check_arms,
    check_begun,
    keep_teachers,
    trial_config,
)
from aekt_mm.analysis.study import Trial, missing, read_results
from aekt_mm.analysis.study_file import read_study
from aekt_mm.engine.predicting import logits_identity, student_logits, teacher_logits
from aekt_mm.evaluation import measure

pytest.importorskip('sklearn')


@pytest.fixture
def study(digits_recipe, tmp_path):
    digits_recipe.dump(tmp_path / 'recipe.py')
    # another teacher, which sees the classes the other way round
    weights = torch.load(digits_recipe.model.teacher.checkpoint)
    for name in ('head.fc.weight', 'head.fc.bias'):
        weights[name] = weights[name].flip(0)
    torch.save(weights, tmp_path / 'other.pth')
    arms = dict(
        aekt=dict(recipe='recipe.py'),
        pull=dict(
            recipe='recipe.py',
            options={
                'model.losses.aekt.explicit': dict(type='RatioPull'),
                'model.connector': None,
                'model.teacher.checkpoint': str(tmp_path / 'other.pth'),
                'optim_wrapper.paramwise_cfg': dict(norm_decay_mult=0.0),
            },
        ),
        diverging=dict(recipe='recipe.py', options={'optim_wrapper.optimizer.lr': 1e20}),
    )
    content = dict(
        hold_out=0.3,
        baseline='aekt',
        seeds=[3],
        cached_teacher=dict(folder=str(tmp_path / 'cache'), views=1),
        options={'train_cfg.max_epochs': 1, 'param_scheduler': []},
        arms=arms,
    )
    path = tmp_path / 'study.yaml'
    path.write_text(yaml.safe_dump(content), encoding='utf-8')
    return read_study(path)


def test_the_config_of_a_trial(study, tmp_path):
    trial = next(trial for trial in study.trials if trial.arm == 'pull')
    cfg = trial_config(study, trial)
    assert cfg.model.losses.aekt.explicit == dict(type='RatioPull')  # nothing of the recipe's left
    assert cfg.optim_wrapper.paramwise_cfg == dict(norm_decay_mult=0.0)  # the recipe has none
    assert cfg.model.teacher.type == 'CachedTeacher'
    assert cfg.randomness.seed == 3
    longer = replace(trial, options={'train_cfg.max_epochs': 7})
    assert trial_config(study, longer).param_scheduler.total_steps == 7
    assert cfg.val_dataloader.dataset.part == 'validation'
    assert cfg.val_dataloader.dataset.dataset.split == 'train'  # nothing of the test set
    cfg.dump(tmp_path / 'trial.py')
    written = Config.fromfile(tmp_path / 'trial.py').to_dict()
    assert json.dumps(written, sort_keys=True) == json.dumps(cfg.to_dict(), sort_keys=True)


def test_students_of_a_part_of_the_training_set_may_be_measured_on_the_test_set(study):
    cfg = trial_config(replace(study, measured_on='test'), study.trials[0])
    held_out = trial_config(study, study.trials[0])
    assert cfg.train_dataloader == held_out.train_dataloader  # the same students
    assert cfg.val_dataloader == held_out.val_dataloader
    assert held_out.test_dataloader.dataset.part == 'validation'
    assert cfg.test_dataloader.dataset.split == 'test'


def test_a_run_of_other_settings_is_not_gone_on_with(study, tmp_path):
    trial = study.trials[0]
    cfg, folder = trial_config(study, trial), tmp_path / 'seed_3'
    check_begun(folder, cfg)
    folder.mkdir()
    cfg.dump(tmp_path / 'seed_3.py')
    other = replace(trial, options={**trial.options, 'model.losses.aekt.beta': 7.0})
    check_begun(folder, trial_config(study, other))  # nothing has been trained
    (folder / 'last_checkpoint').touch()
    check_begun(folder, cfg)
    check_begun(folder, trial_config(replace(study, measured_on='test'), trial))
    with pytest.raises(
        ValueError, match=r'seed_3 has a run with model\.losses\.aekt\.beta 0\.5, but the'
    ):
        check_begun(folder, trial_config(study, other))
    (tmp_path / 'seed_3.py').unlink()
    with pytest.raises(ValueError, match="seed_3 has a run that is not this study's: remove"):
        check_begun(folder, cfg)


def test_recipes_may_be_named(study):
    cfg = trial_config(study, Trial('named', 0, 'nkd_resnet20_resnet8_cifar100_8e', {}))
    assert cfg.model.losses.nkd.type == 'NKDLoss'
    with pytest.raises(ValueError, match=r'arms\.named: there is no recipe nkd_resnet20_resnet9'):
        trial_config(study, Trial('named', 0, 'nkd_resnet20_resnet9_cifar100', {}))


def test_who_looks_at_features_keeps_the_teacher(study):
    cfg = trial_config(study, Trial('hint', 0, 'fitnet_resnet20_resnet8_cifar100_8e', {}))
    assert cfg.model.teacher.type == 'OnlineTeacher'
    cached = trial_config(study, Trial('dist', 0, 'dist_resnet20_resnet8_cifar100_8e', {}))
    assert cached.model.teacher.type == 'CachedTeacher'
    assert cfg.train_dataloader == cached.train_dataloader  # the same views


def test_an_option_that_is_not_in_the_recipe_names_its_arm(study):
    trial = Trial('pull', 0, study.trials[0].recipe, {'model.loses.aekt.beta': 1.0})
    with pytest.raises(
        ValueError, match=r"arms\.pull: .*model has no 'loses'; did you mean losses"
    ):
        trial_config(study, trial)


def test_an_arm_that_cannot_be_trained_is_refused_before_any_is(study):
    configs = {trial: trial_config(study, trial) for trial in study.trials}
    check_arms(study, configs)
    late = replace(study.trials[-1], arm='late', options={'optim_wrapper.optimizer.lr': -1})
    with pytest.raises(
        ValueError, match=r'arms\.late: optim_wrapper\.optimizer\.lr must be a finite'
    ):
        check_arms(study, {**configs, late: trial_config(study, late)})
    late = replace(late, options={'model.losses.aekt.alpha': 'much'})
    with pytest.raises(ValueError, match=r'arms\.late: model\.losses\.aekt'):
        check_arms(study, {late: trial_config(study, late)})


def test_each_teacher_of_a_study_has_its_own_cache_and_logits(study, tmp_path):
    trials = {trial.arm: trial for trial in study.trials}
    arms = {arm: trial_config(study, trial) for arm, trial in trials.items()}
    folders = cache_folders(study, arms)
    assert folders['aekt'] == folders['diverging'] == study.cached_teacher.folder
    assert folders['pull'].startswith(f'{study.cached_teacher.folder}_')

    # of an arm without a teacher nothing is known where there are several
    arms['alone'] = arms['aekt'].copy()
    arms['alone'].model = dict(arms['alone'].model, teacher=None)
    files = keep_teachers(arms, ['aekt', 'pull', 'alone'], tmp_path)
    assert set(files) == {'aekt', 'pull'}
    logits = {arm: np.load(file)['logits'] for arm, file in files.items()}
    np.testing.assert_allclose(logits['pull'], logits['aekt'][:, ::-1], rtol=1e-4, atol=1e-6)
    arms.pop('pull')
    files = keep_teachers(arms, ['alone'], tmp_path)
    np.testing.assert_array_equal(np.load(files['alone'])['logits'], logits['aekt'])
    assert len(list(tmp_path.glob('teacher_logits_*.npz'))) == 2


@pytest.mark.parametrize('address', [None, 'head:6379'])
def test_ray_on_one_machine_is_out_of_reach(address, monkeypatch):
    asked = {}
    monkeypatch.setattr(ray, 'init', lambda **options: asked.update(options))
    monkeypatch.setattr(os, 'environ', {**os.environ})
    monkeypatch.setattr(ray_constants, 'ENABLE_RAY_CLUSTER', True)
    os.environ.pop('RAY_ADDRESS', None)
    if address is not None:
        os.environ['RAY_ADDRESS'] = address
    running._start_ray()
    assert asked['address'] == (address or 'local')
    if address is None:
        assert services.get_node_ip_address() == '127.0.0.1'
    else:
        assert ray_constants.ENABLE_RAY_CLUSTER


@pytest.mark.slow
def test_a_study_from_its_file_to_its_table(study, tmp_path, run):
    work_dir = tmp_path / 'work'
    command = (sys.executable, 'tools/study.py', study.path, '--work-dir', work_dir)
    printed = run(*command, returncode=1)
    assert '3 of 3' in printed
    assert len(printed.splitlines()) < 20  # nothing of the stack, nor of the teacher
    assert 'diverging/seed_3 failed' in printed
    assert '| pull | 1 |' in printed
    assert f'In a browser: {work_dir}/report.html' in printed
    assert 'Explicit knowledge' in (work_dir / 'report.html').read_text(encoding='utf-8')
    results = read_results(study).set_index('arm')
    assert results.index.tolist() == ['aekt', 'pull']
    assert [trial.arm for trial in missing(study)] == ['diverging']

    # what is kept are the measures of the last epoch's student on the held-out part
    trial = next(trial for trial in study.trials if trial.arm == 'aekt')
    folder = work_dir / trial.name
    cfg = Config.fromfile(folder.with_suffix('.py'))
    logits, labels = student_logits(cfg, folder / 'epoch_1.pth')
    assert len(labels) == 269
    cfg.model.teacher = cfg.model.teacher.online
    # the teacher has been over these images once, for the trials and for the report
    kept = [np.load(path) for path in work_dir.glob('teacher_logits_*.npz')]
    assert [file['identity'] == logits_identity(cfg) for file in kept].count(True) == 1
    assert len(kept) == 2  # one for each teacher
    found = measure(logits, labels, teacher_logits(cfg))
    for name, value in found.items():
        assert results.loc['aekt', name] == pytest.approx(value, rel=1e-4), name
    other = trial_config(study, next(trial for trial in study.trials if trial.arm == 'pull'))
    other.model.teacher = other.model.teacher.online
    beside = teacher_logits(other)
    torch.testing.assert_close(beside, teacher_logits(cfg).flip(1))
    logits_beside, _ = student_logits(other, work_dir / 'pull/seed_3/epoch_1.pth')
    agreement = measure(logits_beside, labels, beside)['agreement']
    assert results.loc['pull', 'agreement'] == pytest.approx(agreement, rel=1e-4)
    folders = [Path(Config.fromfile(file).model.teacher.cache) for file in work_dir.glob('*/*.py')]
    assert sorted({folder.name for folder in folders})[0] == 'cache'
    assert len(set(folders)) == 2
    assert found['top1'] == pytest.approx(100 * (logits.argmax(1) == labels).double().mean())

    before = study.results.read_bytes()
    assert '1 of 3 trials to run' in run(*command, returncode=1)
    assert study.results.read_bytes() == before
    assert torch.equal(logits, student_logits(cfg, folder / 'epoch_1.pth')[0])
