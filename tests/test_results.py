"""The tables of README.md are those of the committed runs, computed here from their CSV files."""

import csv
import math
import re
from pathlib import Path
from statistics import mean, stdev

import pytest
from scipy import stats

ROOT = Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text(encoding='utf-8')


def top1(study, arm):
    """Accuracy in percent by seed."""
    with (ROOT / f'configs/studies/{study}.csv').open(newline='') as file:
        return {
            int(row['seed']): float(row['top1'])
            for row in csv.DictReader(file)
            if row['arm'] == arm
        }


def difference(arm, other):
    """Paired by seed, with half of the 95 % interval where there is more than a seed."""
    values = [arm[seed] - other[seed] for seed in arm.keys() & other.keys()]
    if len(values) == 1:
        return f'{round(values[0], 4):.1f}'  # accuracies have two digits
    quantile = stats.t.ppf(0.975, len(values) - 1)
    return f'{mean(values):.1f} ± {quantile * stdev(values) / math.sqrt(len(values)):.1f}'


def cells(first):
    """The cells behind a row's first, without emphasis and plus signs."""
    [row] = re.findall(rf'^\| {re.escape(first)}[^|]*\|(.*)\|$', README, re.MULTILINE)
    return [re.sub(r'[*+]', '', cell).strip() for cell in row.split('|')]


@pytest.mark.parametrize(
    ('row', 'few', 'many'),
    [
        ('student alone', 'alone', 'alone'),
        ('KD', 'kd', 'kd'),
        ('AEKT, its explicit term', 'ratio-kl at 1', 'ratio-kl at 1'),
        ('the same, one weight', 'dkd at 1 alpha=4.0', 'dkd at 1'),
        ('DKD, five times', 'dkd and more label', 'dkd and more label'),
    ],
)
def test_accuracy_and_difference_to_dkd(row, few, many):
    expected = []
    for study, arm in (('scarce_test', few), ('main', many)):
        runs, dkd = top1(study, arm), top1(study, 'dkd')
        assert runs.keys() == dkd.keys() == set(range(5))
        expected += [f'{mean(runs.values()):.1f}', difference(runs, dkd)]
    assert cells(row) == expected


@pytest.mark.parametrize(
    ('row', 'study', 'aekt', 'others'),
    [
        ('MicroNet → resnet8, all', 'main_micronet', 'aekt', ('kd', 'dkd', 'dkd and more label')),
        (
            'MicroNet → resnet8, 10,000',
            'scarce_micronet',
            'aekt',
            ('alone', 'kd', 'dkd', 'dkd and more label'),
        ),
        (
            'resnet20 → resnet8, 12,000 images of Fashion',
            'fashion',
            'aekt as on cifar-100',
            ('alone', 'kd', 'dkd'),
        ),
        ('the same, 20,000 images of Tiny', 'tiny', 'aekt', ('alone', 'kd', 'dkd')),
    ],
)
def test_gains_elsewhere(row, study, aekt, others):
    runs = top1(study, aekt)
    expected = [difference(runs, top1(study, other)) for other in others]
    if 'alone' not in others:  # it needs no teacher: that of the other study
        expected.insert(0, difference(runs, top1('main', 'alone')))
    assert [cell for cell in cells(row) if cell] == expected
