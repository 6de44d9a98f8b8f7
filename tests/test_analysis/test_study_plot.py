"""The picture of a study shows the numbers of its table."""

from pathlib import Path

import pandas as pd
import pytest

from aekt_mm.analysis.study import compare, read_results
from aekt_mm.analysis.study_file import read_study
from aekt_mm.analysis.study_plot import plot_gains, save

STUDY = Path(__file__).parents[2] / 'configs/studies/digits.yaml'


def test_draws_what_the_table_says(tmp_path):
    study = read_study(STUDY)
    results = read_results(study)
    axes = plot_gains(study, results).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ['KD', 'DKD', 'AEKT']
    table = compare(results, study.arms, study.baseline)
    bars = {bar[0].get_ydata()[0]: bar for bar in axes.containers}
    for bar, arm in zip(bars.values(), ('kd', 'dkd', 'aekt')):
        mean, half = table.loc[arm, 'top1_gain'], table.loc[arm, 'top1_interval']
        (low, _), (high, _) = bar[2][0].get_segments()[0]
        assert bar[0].get_xdata()[0] == pytest.approx(mean)
        assert (low, high) == pytest.approx((mean - half, mean + half))
    # a dot a seed
    alone, aekt = (results[results['arm'] == arm].set_index('seed') for arm in ('alone', 'aekt'))
    dots = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 20]
    assert sorted(dots[2]) == pytest.approx(sorted(aekt['top1'] - alone['top1']))

    for name in ('first.svg', 'second.svg'):
        save(plot_gains(study, results), tmp_path / name)
    assert (tmp_path / 'first.svg').read_bytes() == (tmp_path / 'second.svg').read_bytes()


def test_a_study_without_pairs_is_refused():
    study = read_study(STUDY)
    with pytest.raises(ValueError, match='has no arm with the seeds of alone'):
        plot_gains(study, pd.DataFrame({'arm': ['kd'], 'seed': [0], 'top1': [50.0]}))
