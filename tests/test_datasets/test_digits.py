"""The digits are scikit-learn's."""

import sys

import numpy as np
import pytest

from aekt_mm.datasets import Digits

sklearn_datasets = pytest.importorskip('sklearn.datasets')


def test_the_halves_are_those_of_scikit_learns_example():
    from sklearn.model_selection import train_test_split

    digits = sklearn_datasets.load_digits()
    halves = train_test_split(digits.images, digits.target, test_size=0.5, shuffle=False)
    for split, images, labels in zip(('train', 'test'), halves[:2], halves[2:]):
        ours = Digits(split)
        assert np.array_equal(ours.labels, labels)
        assert ours.metainfo['classes'] == tuple('0123456789')
        for channel in range(3):
            assert np.array_equal(ours.images[..., channel], np.rint(images * 255 / 16))


def test_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'sklearn.datasets', None)
    with pytest.raises(ImportError, match='pip install scikit-learn'):
        Digits('train')


def test_another_split_is_refused():
    with pytest.raises(ValueError, match="split must be 'train' or 'test', but is 'val'"):
        Digits('val')
