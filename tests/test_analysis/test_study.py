"""Studies: what their files mean, what is kept of them, and how arms are compared."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aekt_mm.analysis.intervals import paired_interval
from aekt_mm.analysis.study import (
    add_result,
    compare,
    markdown,
    missing,
    read_results,
    read_study,
    settings,
)

RECIPES = Path(__file__).parents[2] / 'configs'
DKD = str(RECIPES / 'dkd/dkd_resnet20_resnet8slim_digits.py')


def study_file(folder, **content):
    path = folder / 'study.yaml'
    given = dict(baseline='dkd', seeds=[0, 1], arms=dict(dkd=dict(recipe=DKD)))
    path.write_text(yaml.safe_dump({**given, **content}), encoding='utf-8')
    return path


def test_trials_are_arms_by_seeds(tmp_path):
    arms = dict(
        dkd=dict(recipe=DKD),
        weighted=dict(
            recipe=DKD,
            options={'model.losses.dkd.beta': 4.0},
            grid={'model.losses.dkd.alpha': [1.0, 2.0], 'optim_wrapper.optimizer.lr': [0.1, 0.2]},
        ),
    )
    study = read_study(study_file(tmp_path, options={'train_cfg.max_epochs': 3}, arms=arms))
    assert study.arms == [
        'dkd',
        *(f'weighted alpha={alpha} lr={lr}' for alpha in (1.0, 2.0) for lr in (0.1, 0.2)),
    ]
    assert [trial.seed for trial in study.trials] == [0] * 5 + [1] * 5
    assert study.trials[4].options == {
        'train_cfg.max_epochs': 3,
        'model.losses.dkd.beta': 4.0,
        'model.losses.dkd.alpha': 2.0,
        'optim_wrapper.optimizer.lr': 0.2,
    }


def test_a_search_draws_the_same_settings_every_time(tmp_path):
    search = {
        'model.losses.dkd.alpha': {'loguniform': [0.5, 8.0]},
        'model.losses.dkd.beta': {'choice': [1.0, 2.0]},
    }
    arms = dict(dkd=dict(recipe=DKD), found=dict(recipe=DKD, search=search, samples=5))
    path = study_file(tmp_path, arms=arms)
    study = read_study(path)
    assert read_study(path) == study
    drawn = [trial.options['model.losses.dkd.alpha'] for trial in study.trials[1:6]]
    assert len(set(drawn)) == 5
    assert all(0.5 <= value <= 8 for value in drawn)
    assert {trial.options['model.losses.dkd.beta'] for trial in study.trials[1:6]} <= {1.0, 2.0}


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (dict(baseline='kd'), "baseline must be one of the arms, dkd, but is 'kd'"),
        (dict(seeds=3), 'seeds must be a list of whole numbers, but is 3'),
        (dict(seeds=[1, 1]), r'seeds must differ, but are \[1, 1\]'),
        (dict(arms={}), 'arms must map names to recipes, but is {}'),
        (dict(arms=dict(dkd=dict(recipy=DKD))), "arms.dkd has 'recipy', but knows only recipe"),
        (dict(arms=dict(dkd=dict(options={}))), "arms.dkd must have 'recipe'"),
        (dict(holdout=0.2), "has 'holdout', but knows only hold_out"),
        (dict(measured_on='held-out'), "measured_on must be test, or with hold_out .*'held-out'"),
        (dict(hold_out=0.2, measured_on='train'), "measured_on must be test, .* but is 'train'"),
        (dict(cached_teacher=dict(views=3)), "cached_teacher must have 'folder'"),
        (
            dict(arms=dict(dkd=dict(recipe=DKD, search={'a.b': {'normal': [0, 1]}}))),
            'arms.dkd.search.a.b must be uniform',
        ),
    ],
)
def test_a_bad_study_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_study(study_file(tmp_path, **content))


@pytest.mark.parametrize(
    ('content', 'measured_on'),
    [
        ({}, 'test'),
        (dict(hold_out=0.2), 'held-out'),
        (dict(hold_out=0.2, measured_on='test'), 'test'),
    ],
)
def test_what_trials_are_measured_on(tmp_path, content, measured_on):
    assert read_study(study_file(tmp_path, **content)).measured_on == measured_on


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='there is no study'):
        read_study(tmp_path / 'none.yaml')
    path = study_file(tmp_path, arms=dict(dkd=dict(recipe='none.py')))
    with pytest.raises(FileNotFoundError, match=r'arms\.dkd\.recipe: there is no .*none\.py'):
        read_study(path)


def test_results_say_what_is_missing(tmp_path):
    study = read_study(study_file(tmp_path))
    assert missing(study) == list(study.trials)
    add_result(study, study.trials[1], dict(commit='0123456', top1=51.5))
    assert missing(study) == [study.trials[0]]
    add_result(study, study.trials[0], dict(commit='0123456', top1=50.0))
    results = read_results(study)
    assert results['seed'].tolist() == [0, 1]
    assert results['settings'].tolist() == [settings(study.trials[0])] * 2
    assert results['commit'].tolist() == ['0123456'] * 2
    assert not missing(study)


def test_results_of_other_settings_are_not_taken_for_these(tmp_path):
    study = read_study(study_file(tmp_path))
    add_result(study, study.trials[0], dict(top1=50.0))
    changed = read_study(study_file(tmp_path, options={'train_cfg.max_epochs': 3}))
    with pytest.raises(ValueError, match=r'now says .*max_epochs=3: give the arm another name'):
        missing(changed)


@given(
    differences=st.lists(st.floats(-10, 10), min_size=2, max_size=20).filter(
        lambda values: np.std(values) > 1e-3
    )
)
def test_the_interval_is_that_of_a_paired_t_test(differences):
    mean, half = paired_interval(differences)
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    np.testing.assert_allclose((mean - half, mean + half), expected, rtol=1e-6, atol=1e-9)


def test_arms_are_compared_seed_by_seed(tmp_path):
    arms = dict(dkd=dict(recipe=DKD), other=dict(recipe=DKD), unrun=dict(recipe=DKD))
    study = read_study(study_file(tmp_path, arms=arms, seeds=[0, 1, 2]))
    rows = [('dkd', 0, 50.0), ('dkd', 1, 52.0), ('dkd', 2, 60.0), ('other', 0, 51.0)]
    rows += [('other', 1, 54.0)]  # of its third seed there is no result yet
    results = pd.DataFrame(rows, columns=['arm', 'seed', 'top1'])
    table = compare(results, study.arms, study.baseline)
    assert table.index.tolist() == ['dkd', 'other']
    assert table.loc['dkd', 'top1_mean'] == 54
    assert table.loc['other', 'seeds'] == 2
    assert table.loc['other', 'top1_gain'] == 1.5  # not 52.5 - 54
    assert table.loc['other', 'top1_interval'] == pytest.approx(12.706 * 0.5, rel=1e-4)
    assert '| other | 2 | 52.50 ± 2.12 | +1.50 ± 6.35 |' in markdown(study, results)
