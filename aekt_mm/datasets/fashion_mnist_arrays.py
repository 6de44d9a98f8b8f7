"""Fashion-MNIST in memory."""

import gzip
from pathlib import Path

import numpy as np

from aekt_mm.registry import DATASETS

from .array_dataset import ArrayDataset

COUNTS = {'train': 60_000, 'test': 10_000}
FILES = {'train': 'train', 'test': 't10k'}
SOURCE = 'https://github.com/zalandoresearch/fashion-mnist, or Debian: dataset-fashion-mnist'
CLASSES = (
    'T-shirt/top',
    'Trouser',
    'Pullover',
    'Dress',
    'Coat',
    'Sandal',
    'Shirt',
    'Sneaker',
    'Bag',
    'Ankle boot',
)


@DATASETS.register_module()
class FashionMNISTArrays(ArrayDataset):
    """Fashion-MNIST (Xiao et al., 2017) from its official files, packed with gzip or unpacked.

    28x28 grey pixels, repeated in three channels. `arXiv 1708.07747
    <https://arxiv.org/abs/1708.07747>`_

    Args:
        data_root: The folder that has ``{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]``.
        split: 'train' (60,000 images) or 'test' (10,000).

    Raises:
        FileNotFoundError: If a file is not there; the message says how to get it.
        ValueError: If there is no such split, or a file's content is not Fashion-MNIST.
    """

    def __init__(self, data_root: str | Path, split: str) -> None:
        if split not in COUNTS:
            raise ValueError(f'split must be one of {tuple(COUNTS)}, but is {split!r}')
        count, name = COUNTS[split], Path(data_root) / FILES[split]
        grey = _read(Path(f'{name}-images-idx3-ubyte'), (count, 28, 28))
        labels = _read(Path(f'{name}-labels-idx1-ubyte'), (count,))
        super().__init__(grey[..., None].repeat(3, axis=3), labels, CLASSES)
        if not (self.labels.bincount(minlength=10) == count // 10).all():
            raise ValueError(
                f'{name}-labels-idx1-ubyte is not Fashion-MNIST: not each of its classes has '
                f'{count // 10} images'
            )


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return the array in an IDX file of bytes."""
    packed = path.with_name(f'{path.name}.gz')
    if not path.is_file() and not packed.is_file():
        raise FileNotFoundError(
            f'Fashion-MNIST was looked for in {packed}, which is not there: get it from {SOURCE}'
        )
    path = path if path.is_file() else packed
    try:
        content = path.read_bytes() if path.suffix != '.gz' else gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise ValueError(f'{path} can not be unpacked: {error}') from error
    # IDX: two zeros, 8 for bytes, the number of dimensions; then each as a big-endian number
    header = np.array([0x0800 + len(shape), *shape], '>u4').tobytes()
    if not content.startswith(header) or len(content) != len(header) + np.prod(shape):
        raise ValueError(f'{path} is not Fashion-MNIST: it does not hold {shape} bytes')
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)
