"""What is kept of studies, and how arms are compared."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
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
    settings,
)
from aekt_mm.analysis.study_file import read_study

RECIPES = Path(__file__).parents[2] / 'configs'
DKD = str(RECIPES / 'dkd/dkd_resnet20_resnet8slim_digits.py')


def test_results_say_what_is_missing(tmp_path, study_file):
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


def test_results_of_other_settings_are_not_taken_for_these(tmp_path, study_file):
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


def test_arms_are_compared_seed_by_seed(tmp_path, study_file):
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
