"""CIFAR-100 from its official files, whatever Python wrote them, running no code from them."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from aekt_mm.datasets import CIFAR100Arrays, cifar100_arrays

REAL = Path(__file__).parents[2] / 'data/cifar100'
CLASSES = [f'class {k}' for k in range(100)]


def entry(count=200, **wrong):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3072), dtype=np.uint8)
    return {'data': pixels, 'fine_labels': list(range(100)) * (count // 100), **wrong}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A test split of two images a class."""
    monkeypatch.setattr(cifar100_arrays, 'COUNTS', {'train': 500, 'test': 200})
    (tmp_path / 'cifar-100-python').mkdir()
    write(tmp_path, 'meta', {'fine_label_names': CLASSES})
    write(tmp_path, 'test', entry())
    return tmp_path


def write(root, name, content, protocol=4):
    content = content if isinstance(content, bytes) else pickle.dumps(content, protocol=protocol)
    (root / 'cifar-100-python' / name).write_bytes(content)


@pytest.mark.parametrize('protocol', [0, 2, 4, 5])
def test_reads_what_is_there(root, protocol):
    content = entry()
    write(root, 'test', content, protocol)
    dataset = CIFAR100Arrays(root, 'test')
    assert dataset.images.shape == (200, 32, 32, 3)
    np.testing.assert_array_equal(
        dataset.images[7, :, :, 1].flatten(), content['data'][7, 1024:2048]
    )
    assert dataset.labels.tolist() == content['fine_labels']
    assert dataset.metainfo['classes'] == tuple(CLASSES)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (entry(100), 'is not 200x3072 uint8'),
        (entry(fine_labels=[0] * 200), 'each of 100 classes should have 2 images'),
        ({'data': 3}, "it has no 'fine_labels'"),
        (pickle.dumps(entry())[:-500], 'can not be read as CIFAR-100'),
        (b'no pickle', 'can not be read as CIFAR-100'),
    ],
)
def test_bad_content(root, content, message):
    write(root, 'test', content)
    with pytest.raises(ValueError, match=message):
        CIFAR100Arrays(root, 'test')


def test_missing_says_where_and_how(root):
    with pytest.raises(FileNotFoundError, match=r'looked for in .*train.*unpack https://.*tar\.gz'):
        CIFAR100Arrays(root, 'train')
    with pytest.raises(ValueError, match="but is 'val'"):
        CIFAR100Arrays(root, 'val')


@pytest.mark.parametrize(
    'function', ['os.system', 'builtins.eval', 'numpy.load', 'numpy.f2py.main']
)
def test_code_is_not_run(root, function):
    module, _, name = function.rpartition('.')
    write(root, 'test', f'c{module}\n{name}\n(S"exit(3)"\ntR.'.encode())
    with pytest.raises(ValueError, match=f'asks for {function}, which was refused'):
        CIFAR100Arrays(root, 'test')


@pytest.mark.skipif(not REAL.exists(), reason='data/cifar100 is not there')
def test_the_real_one():
    dataset = CIFAR100Arrays(REAL, 'test')
    assert len(dataset) == 10_000
    assert 'maple_tree' in dataset.metainfo['classes']
