"""What the files of studies mean."""

import contextlib
import re
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aekt_mm.analysis.study import Study
from aekt_mm.analysis.study_file import SharedCache, read_study

RECIPES = Path(__file__).parents[2] / 'configs'
DKD = str(RECIPES / 'dkd/dkd_resnet20_resnet8slim_digits.py')


def test_trials_are_arms_by_seeds(tmp_path, study_file):
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


def test_a_search_draws_the_same_settings_every_time(tmp_path, study_file):
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
        ('a study', "a study must have settings, but is 'a study'"),
        (dict(baseline='kd'), "baseline must be one of the arms, dkd, but is 'kd'"),
        (dict(baseline=None), 'baseline is missing'),
        *(
            (
                {'arms': {name: dict(recipe=DKD)}},
                f'an arm must be the name of a folder in the work directory, but is {name!r}',
            )
            for name in ('a/../../b', '..', '/tmp/b', '', '.')
        ),
        (dict(seeds=3), 'seeds: must be a valid list, but is 3'),
        (dict(seeds=[0, True]), 'seeds.1: must be a valid integer, but is True'),
        (dict(seeds=[1, 1]), 'seeds must differ, but are [1, 1]'),
        (dict(arms={}), 'arms: Dictionary must have at least 1 item after validation, not 0'),
        (dict(arms=dict(dkd=DKD)), f'arms.dkd must have settings, but is {DKD!r}'),
        (dict(arms=dict(dkd=dict(recipy=DKD))), "arms.dkd has 'recipy', but knows only recipe, "),
        (dict(arms=dict(dkd=dict(options={}))), 'arms.dkd.recipe is missing'),
        (
            dict(arms=dict(dkd=dict(recipe=DKD, grid={'a.b': 5}))),
            'arms.dkd.grid.a.b: must be a valid list, but is 5',
        ),
        (
            dict(arms=dict(dkd=dict(recipe=DKD, search={'a.b': {'normal': [0, 1]}}))),
            "arms.dkd.search.a.b has 'normal', but knows only uniform, loguniform, choice",
        ),
        (
            dict(arms=dict(dkd=dict(recipe=DKD, search={'a.b': {}}))),
            'arms.dkd.search.a.b must be one of uniform: [low, high], loguniform: ',
        ),
        (
            dict(arms=dict(dkd=dict(recipe=DKD, search={'a.b': {'loguniform': [0, 1]}}))),
            'arms.dkd.search.a.b must go from low to high, and loguniform from above 0',
        ),
        (
            dict(arms=dict(dkd=dict(recipe=DKD, search={'a.b': {'uniform': [2, 1]}}))),
            'arms.dkd.search.a.b must go from low to high',
        ),
        (dict(options=['a']), "options: must be a valid dictionary, but is ['a']"),
        (dict(holdout=0.2), "has 'holdout', but knows only baseline, "),
        (dict(hold_out=1.5), 'hold_out: must be less than 1, but is 1.5'),
        (dict(measured_on='held-out'), 'measured_on is held-out, but hold_out, the share, is'),
        (dict(measured_on='train'), "measured_on: must be 'held-out' or 'test', but is 'train'"),
        (dict(cached_teacher=dict(views=3)), 'cached_teacher.folder is missing'),
        (dict(threads='two'), "threads: must be a valid integer, but is 'two'"),
        (dict(gpus=-1), 'gpus: must be greater than or equal to 0, but is -1'),
    ],
)
def test_a_bad_study_is_refused(tmp_path, study_file, content, message):
    path = study_file(tmp_path, **content) if isinstance(content, dict) else tmp_path / 'study.yaml'
    if not path.is_file():
        path.write_text(content, encoding='utf-8')
    with pytest.raises(ValueError, match=re.escape(f'{path}: {message}')):
        read_study(path)


@pytest.mark.parametrize(
    ('content', 'measured_on'),
    [
        ({}, 'test'),
        (dict(hold_out=0.2), 'held-out'),
        (dict(hold_out=0.2, measured_on='test'), 'test'),
    ],
)
def test_what_trials_are_measured_on(tmp_path, study_file, content, measured_on):
    assert read_study(study_file(tmp_path, **content)).measured_on == measured_on


def test_missing_files_are_named(tmp_path, study_file):
    with pytest.raises(FileNotFoundError, match='there is no study'):
        read_study(tmp_path / 'none.yaml')
    path = study_file(tmp_path, arms=dict(dkd=dict(recipe='none.py')))
    with pytest.raises(FileNotFoundError, match=r'arms\.dkd\.recipe: there is no .*none\.py'):
        read_study(path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(data=st.data())
def test_whatever_a_file_says_it_is_a_study_or_refused_in_a_line(data):
    content = dict(
        baseline='dkd',
        seeds=[0],
        arms=dict(dkd=dict(recipe='dkd_resnet20_resnet8slim_digits')),
        cached_teacher=dict(folder='teacher', views=2),
        options={},
    )
    place = content
    for _ in range(data.draw(st.integers(0, 2))):
        inner = [value for value in place.values() if isinstance(value, dict)]
        place = data.draw(st.sampled_from(inner)) if inner else place
    keys = [*content, *content['arms']['dkd'], 'hold_out', 'grid', 'search', 'samples', 'threads']
    place[data.draw(st.sampled_from(keys))] = data.draw(VALUES)
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(ValueError):
        path = Path(folder) / 'study.yaml'
        path.write_text(yaml.safe_dump(content), encoding='utf-8')
        try:
            assert isinstance(read_study(path), Study)
        except FileNotFoundError as error:
            assert 'recipe' in str(error)


def test_a_cached_teacher_keeps_all_logits_but_where_a_format_is_given(tmp_path, study_file):
    given = dict(folder='teacher', views=2)
    kept = read_study(study_file(tmp_path, cached_teacher=given)).cached_teacher
    assert kept == SharedCache(folder='teacher', views=2, format='float32')


def test_an_empty_section_is_as_if_it_were_not_there(tmp_path, study_file):
    arms = dict(dkd=dict(recipe=DKD, options=None))
    study = read_study(study_file(tmp_path, options=None, cached_teacher=None, arms=arms))
    assert study == read_study(study_file(tmp_path))
