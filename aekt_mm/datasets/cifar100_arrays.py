"""CIFAR-100 in memory."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from aekt_mm.registry import DATASETS

from .array_dataset import ArrayDataset

COUNTS = {'train': 50_000, 'test': 10_000}
SOURCE = 'https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz'


@DATASETS.register_module()
class CIFAR100Arrays(ArrayDataset):
    """CIFAR-100 (Krizhevsky, 2009) from the files of its official Python version.

    mmpretrain's ``CIFAR100`` takes only files with the official md5 sums. Here the content counts:
    the number of images, their shape, and that every class has as many. Reading the pickled files
    runs no code from them.

    Args:
        data_root: The folder that has ``cifar-100-python/{train,test,meta}``.
        split: 'train' (50,000 images) or 'test' (10,000).

    Raises:
        FileNotFoundError: If a file is not there; the message says how to get it.
        ValueError: If there is no such split, or a file's content is not CIFAR-100.
    """

    def __init__(self, data_root: str | Path, split: str) -> None:
        if split not in COUNTS:
            raise ValueError(f'split must be one of {tuple(COUNTS)}, but is {split!r}')
        folder = Path(data_root) / 'cifar-100-python'
        entry, meta = _read(folder / split), _read(folder / 'meta')
        try:
            pixels, labels = entry['data'], np.asarray(entry['fine_labels'])
            classes = meta['fine_label_names']
        except (KeyError, TypeError) as error:
            raise ValueError(f'{folder} is not CIFAR-100: it has no {error}') from error
        count = COUNTS[split]
        if getattr(pixels, 'shape', None) != (count, 3072) or pixels.dtype != np.uint8:
            raise ValueError(
                f'{folder / split} is not CIFAR-100: its data is not {count}x3072 uint8'
            )
        if len(classes) != 100 or not np.array_equal(
            np.bincount(labels, minlength=100), np.full(100, count // 100)
        ):
            raise ValueError(
                f'{folder / split} is not CIFAR-100: each of 100 classes should have '
                f'{count // 100} images'
            )
        images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        super().__init__(images, labels, classes)


class _ArrayUnpickler(pickle.Unpickler):
    """Builds numpy arrays and nothing else."""

    ALLOWED = frozenset({'_reconstruct', 'ndarray', 'dtype', '_frombuffer', 'scalar'})

    def find_class(self, module: str, name: str) -> Any:
        if module.split('.')[0] == 'numpy' and name in self.ALLOWED:
            return super().find_class(module, name)
        if (module, name) == ('_codecs', 'encode'):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f'it asks for {module}.{name}, which was refused')


def _read(path: Path) -> dict:
    """Return a pickled dict with names as str, whatever Python wrote it."""
    if not path.is_file():
        raise FileNotFoundError(
            f'CIFAR-100 was looked for in {path}, which is not there: unpack {SOURCE} into '
            f'{path.parent.parent}'
        )
    try:
        return _ArrayUnpickler(io.BytesIO(path.read_bytes()), encoding='latin1').load()
    except Exception as error:
        raise ValueError(f'{path} can not be read as CIFAR-100: {error}') from error
