"""Handwritten digits that come with scikit-learn: real data without a download."""

import numpy as np

from aekt_mm.registry import DATASETS

from .array_dataset import ArrayDataset


@DATASETS.register_module()
class Digits(ArrayDataset):
    """The 1,797 test images of the UCI optical recognition of handwritten digits data set.

    8x8 pixels of 17 grey levels, stretched to [0, 255] and repeated in three channels. As in
    scikit-learn's own example the first half is for training, the second for testing.

    Args:
        split: 'train' (898 images) or 'test' (899).

    Raises:
        ImportError: If scikit-learn is not installed.
        ValueError: If there is no such split.

    Examples:
        >>> Digits('test').images.shape
        torch.Size([899, 8, 8, 3])
    """

    def __init__(self, split: str) -> None:
        if split not in ('train', 'test'):
            raise ValueError(f"split must be 'train' or 'test', but is {split!r}")
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise ImportError(
                'the digits come with scikit-learn, which is not installed: pip install '
                'scikit-learn'
            ) from error
        grey, labels = load_digits(return_X_y=True)
        half = slice(898) if split == 'train' else slice(898, None)
        images = np.round(grey.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
        classes = [str(digit) for digit in range(10)]
        super().__init__(images[half].repeat(3, axis=3), labels[half], classes)
