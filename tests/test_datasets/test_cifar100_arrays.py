"""CIFAR-100 is read whatever Python wrote it, running no code from it; other content is refused."""

import io
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from aekt_mm.datasets import CIFAR100Arrays, cifar100_arrays

REAL = Path(__file__).parents[2] / 'data/cifar100'
CLASSES = [f'class {number}' for number in range(100)]
GENERATOR = np.random.default_rng(0)
LABELS = GENERATOR.permutation(np.arange(200) % 100).tolist()
ENTRY = dict(data=GENERATOR.integers(0, 256, (200, 3072), np.uint8), fine_labels=LABELS)


def write(root, name, content, dump=pickle.dumps):
    path = root / 'cifar-100-python' / name
    path.write_bytes(content if isinstance(content, bytes) else dump(content))
    return path


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A test split of two images a class."""
    monkeypatch.setattr(cifar100_arrays, 'COUNTS', {'train': 500, 'test': 200})
    (tmp_path / 'cifar-100-python').mkdir()
    write(tmp_path, 'meta', dict(fine_label_names=CLASSES))
    write(tmp_path, 'test', ENTRY)
    return tmp_path


class Python2Pickler(pickle._Pickler):
    """Writes strings and bytes as Python 2 did, as byte strings."""

    def save_string(self, value):
        value = value.encode('latin1') if isinstance(value, str) else value
        self.write(b'T' + struct.pack('<i', len(value)) + value)
        self.memoize(value)

    dispatch = {**pickle._Pickler.dispatch, str: save_string, bytes: save_string}


def python2(value):
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(value)
    return file.getvalue().replace(b'cnumpy._core.multiarray\n', b'cnumpy.core.multiarray\n')


def python3_with_bytes(value):
    """As written again after reading the official files with encoding='bytes'."""

    def encode(part):
        if isinstance(part, list):
            return [encode(item) for item in part]
        return part.encode() if isinstance(part, str) else part

    return pickle.dumps({encode(key): encode(part) for key, part in value.items()})


def protocol(number):
    return pytest.param(lambda value: pickle.dumps(value, number), id=f'protocol {number}')


@pytest.mark.parametrize(
    'dump', [python2, python3_with_bytes, protocol(0), protocol(2), protocol(4), protocol(5)]
)
def test_reads_what_any_python_wrote(root, dump):
    write(root, 'meta', dict(fine_label_names=CLASSES), dump)
    write(root, 'test', ENTRY, dump)
    dataset = CIFAR100Arrays(root, 'test')
    assert dataset.images.shape == (200, 32, 32, 3)
    for channel in range(3):  # a row of the file is all red, all green, all blue pixels
        plane = ENTRY['data'][:, 1024 * channel : 1024 * (channel + 1)]
        assert np.array_equal(dataset.images[..., channel].flatten(1), plane)
    assert dataset.labels.tolist() == LABELS
    assert dataset.metainfo == dict(classes=tuple(CLASSES))


def test_superclasses_where_the_files_have_them(root):
    names = ['even', 'odd']
    write(root, 'meta', dict(fine_label_names=CLASSES, coarse_label_names=names))
    write(root, 'test', {**ENTRY, 'coarse_labels': [label % 2 for label in LABELS]})
    superclasses = CIFAR100Arrays(root, 'test').metainfo['superclasses']
    assert superclasses == ('even', 'odd') * 50


@pytest.mark.skipif(not REAL.is_dir(), reason='data/cifar100 is not there')
@pytest.mark.parametrize(('split', 'count'), [('train', 50_000), ('test', 10_000)])
def test_reads_the_real_files(split, count):
    dataset = CIFAR100Arrays(REAL, split)
    assert len(dataset) == count
    assert dataset.metainfo['classes'][0] == 'apple'
    assert dataset.metainfo['superclasses'][0] == 'fruit_and_vegetables'
    assert len(set(dataset.metainfo['superclasses'])) == 20
    # what the literature gives as the mean of R, G, B
    mean = dataset.images[::10].float().mean((0, 1, 2))
    assert np.allclose(mean, [129.3, 124.1, 112.4], atol=2)


def test_what_is_missing_says_how_to_get_it(root):
    with pytest.raises(FileNotFoundError, match=r'cifar-100-python/train, .*unpack https://.*gz'):
        CIFAR100Arrays(root, 'train')
    (root / 'cifar-100-python/meta').unlink()
    with pytest.raises(FileNotFoundError, match=r'looked for in .*cifar-100-python/meta'):
        CIFAR100Arrays(root, 'test')


def test_another_split_is_refused(root):
    with pytest.raises(ValueError, match=r"split must be one of \('train', 'test'\), but is 'val'"):
        CIFAR100Arrays(root, 'val')


class Code:
    def __reduce__(self):
        return Path.touch, (Path('it-ran'),)


def test_code_in_a_file_does_not_run(root, monkeypatch):
    monkeypatch.chdir(root)
    path = write(root, 'test', dict(ENTRY, filenames=Code()))
    with pytest.raises(ValueError, match=r'/test can not be read .*: it asks for .*, which was'):
        CIFAR100Arrays(root, 'test')
    assert not Path('it-ran').exists()
    pickle.loads(path.read_bytes())  # that it would have run
    assert Path('it-ran').exists()


@pytest.mark.parametrize('name', ['os.system', 'builtins.eval', 'numpy.load', 'numpy.f2py.main'])
def test_only_arrays_are_built(root, name):
    module, _, function = name.rpartition('.')
    write(root, 'test', f'c{module}\n{function}\n(S"exit(3)"\ntR.'.encode())
    with pytest.raises(ValueError, match=f'it asks for {name}, which was refused'):
        CIFAR100Arrays(root, 'test')


@pytest.mark.parametrize(
    'content', [b'', pickle.dumps(ENTRY)[:1000], pickle.dumps(ENTRY)[:-1], b'<!DOCTYPE html>']
)
def test_what_is_no_whole_pickle_is_refused(root, content):
    write(root, 'test', content)
    with pytest.raises(ValueError, match='cifar-100-python/test can not be read as CIFAR-100'):
        CIFAR100Arrays(root, 'test')


@pytest.mark.parametrize(
    ('entry', 'message'),
    [
        ([1, 2], 'it is no dict, but list'),
        (dict(fine_labels=LABELS), 'its data is not 200x3072 uint8'),
        (dict(ENTRY, data=ENTRY['data'][1:]), 'its data is not 200x3072 uint8'),
        (dict(ENTRY, data=ENTRY['data'].view(np.int8)), 'its data is not 200x3072 uint8'),
        (dict(ENTRY, data='abc'), 'its data is not 200x3072 uint8'),
        (dict(data=ENTRY['data'], labels=LABELS), 'must be 200 integers, but are object'),
        (dict(ENTRY, fine_labels=LABELS[1:]), 'must be 200 integers, but are int64'),
        (
            dict(ENTRY, fine_labels=[100, *LABELS[1:]]),
            'label 100 of CIFAR100Arrays is out of range',
        ),
        (dict(ENTRY, fine_labels=[-1, *LABELS[1:]]), 'label -1 of CIFAR100Arrays is out of range'),
        (
            dict(ENTRY, fine_labels=[(LABELS[0] + 1) % 100, *LABELS[1:]]),
            'not each of its classes has 2 images',
        ),
    ],
)
def test_other_content_is_refused(root, entry, message):
    write(root, 'test', entry)
    with pytest.raises(ValueError, match=f'cifar-100-python/test is not CIFAR-100: .*{message}'):
        CIFAR100Arrays(root, 'test')


@pytest.mark.parametrize('meta', [{}, dict(fine_label_names=['apple'])])
def test_other_class_names_are_refused(root, meta):
    write(root, 'meta', meta)
    with pytest.raises(ValueError, match='meta is not of CIFAR-100: its fine_label_names'):
        CIFAR100Arrays(root, 'test')
