"""Fashion-MNIST from its files, and from files that are something else."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from mmpretrain.datasets import FashionMNIST

from aekt_mm.datasets.fashion_mnist_arrays import CLASSES, FashionMNISTArrays

pytestmark = pytest.mark.stack

REAL = Path('/usr/share/datasets/fashion-mnist')  # where Debian's dataset-fashion-mnist puts it


def idx(array):
    header = np.array([0x0800 + array.ndim, *array.shape], '>u4')
    return header.tobytes() + array.astype(np.uint8).tobytes()


@pytest.fixture
def files(tmp_path):
    """Ten thousand made-up images, one file packed and the other not."""
    pixels = np.random.default_rng(0).integers(0, 256, (10_000, 28, 28), dtype=np.uint8)
    labels = np.arange(10_000) % 10
    (tmp_path / 't10k-images-idx3-ubyte.gz').write_bytes(gzip.compress(idx(pixels), 1))
    (tmp_path / 't10k-labels-idx1-ubyte').write_bytes(idx(labels))
    return tmp_path, pixels, labels


def test_images_and_labels(files):
    folder, pixels, labels = files
    dataset = FashionMNISTArrays(folder, 'test')
    assert np.array_equal(dataset.images, np.stack([pixels] * 3, axis=3))
    assert np.array_equal(dataset.labels, labels)
    assert dataset.metainfo['classes'] == CLASSES == tuple(FashionMNIST.METAINFO['classes'])


@pytest.mark.skipif(not REAL.is_dir(), reason=f'{REAL} is not there: dataset-fashion-mnist')
@pytest.mark.parametrize('split', ['train', 'test'])
def test_the_real_one(split):
    dataset = FashionMNISTArrays(REAL, split)
    assert len(dataset) == {'train': 60_000, 'test': 10_000}[split]
    assert dataset.images.float().mean().item() == pytest.approx(73, abs=0.5)


def test_what_is_not_there_is_named(files):
    with pytest.raises(FileNotFoundError, match=r'train-images.*get it from .*dataset-fashion'):
        FashionMNISTArrays(files[0], 'train')
    with pytest.raises(ValueError, match=r"split must be .*, but is 'val'"):
        FashionMNISTArrays(files[0], 'val')


def test_other_files_are_refused(files):
    folder, pixels, labels = files
    (folder / 't10k-labels-idx1-ubyte').write_bytes(idx(labels // 2))
    with pytest.raises(ValueError, match='not each of its classes has 1000 images'):
        FashionMNISTArrays(folder, 'test')
    (folder / 't10k-labels-idx1-ubyte').write_bytes(idx(labels[:-1]))
    with pytest.raises(ValueError, match=r'does not hold \(10000,\) bytes'):
        FashionMNISTArrays(folder, 'test')
    (folder / 't10k-images-idx3-ubyte.gz').write_bytes(gzip.compress(idx(pixels))[:-1000])
    with pytest.raises(ValueError, match='can not be unpacked'):
        FashionMNISTArrays(folder, 'test')
