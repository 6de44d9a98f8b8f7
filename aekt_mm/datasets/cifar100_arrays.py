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
    runs no code from them. Where they name the twenty superclasses, ``metainfo`` has that of each
    class as ``superclasses``.

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
        path = Path(data_root) / 'cifar-100-python' / split
        entry, meta = _read(path), _read(path.with_name('meta'))
        count = COUNTS[split]

        pixels: Any = entry.get('data')
        if getattr(pixels, 'shape', None) != (count, 3072) or pixels.dtype != np.uint8:
            raise ValueError(f'{path} is not CIFAR-100: its data is not {count}x3072 uint8')
        classes = meta.get('fine_label_names')
        if not isinstance(classes, list) or len(classes) != 100:
            raise ValueError(
                f'{path.with_name("meta")} is not of CIFAR-100: its fine_label_names are not 100'
            )
        try:
            labels = np.asarray(entry.get('fine_labels'))
            images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
            super().__init__(images, labels, [_text(name) for name in classes])
        except ValueError as error:
            raise ValueError(f'{path} is not CIFAR-100: {error}') from error
        if not (self.labels.bincount(minlength=100) == count // 100).all():
            raise ValueError(
                f'{path} is not CIFAR-100: not each of its classes has {count // 100} images'
            )
        coarse, names = entry.get('coarse_labels'), meta.get('coarse_label_names')
        if coarse is not None and names is not None:
            of_class = dict(zip(labels.tolist(), coarse))
            self.metainfo['superclasses'] = tuple(_text(names[of_class[k]]) for k in range(100))


class _ArrayUnpickler(pickle.Unpickler):
    """Builds numpy arrays, with what each version of numpy calls for, and nothing else."""

    ALLOWED = frozenset(
        {('numpy', 'ndarray'), ('numpy', 'dtype'), ('_codecs', 'encode')}
        | {
            (f'numpy.{core}.{module}', name)
            for core in ('core', '_core')
            for module, name in (
                ('multiarray', '_reconstruct'),
                ('multiarray', 'scalar'),
                ('numeric', '_frombuffer'),
            )
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f'it asks for {module}.{name}, which was refused')
        return super().find_class(module, name)


def _read(path: Path) -> dict:
    """Return a pickled dict with names as str, whatever Python wrote it."""
    if not path.is_file():
        raise FileNotFoundError(
            f'CIFAR-100 was looked for in {path}, which is not there: unpack {SOURCE} into '
            f'{path.parent.parent}'
        )
    try:
        content = _ArrayUnpickler(io.BytesIO(path.read_bytes()), encoding='latin1').load()
    except Exception as error:
        raise ValueError(f'{path} can not be read as CIFAR-100: {error}') from error
    if not isinstance(content, dict):
        raise ValueError(f'{path} is not CIFAR-100: it is no dict, but {type(content).__name__}')
    return {_text(key): value for key, value in content.items()}


def _text(name: str | bytes) -> str:
    return name.decode('latin1') if isinstance(name, bytes) else name
