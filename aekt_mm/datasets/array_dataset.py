"""Image datasets that fit in memory and are read a batch at a time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.registry import FUNCTIONS
from torch.utils.data import Dataset

from aekt_mm.registry import DATASETS
from aekt_mm.structures import BatchSample, ViewKey, one_view, view_keys


@DATASETS.register_module()
class ArrayDataset(Dataset):
    """Images and labels in memory.

    A dataloader with ``collate_fn=dict(type='whole_batch')`` gets a batch with one indexing
    operation; augmentation and normalisation are left to
    :class:`~aekt_mm.models.data_preprocessors.BatchPreprocessor`, where the model lives.

    Args:
        images: (N, H, W, 3) uint8, RGB.
        labels: (N,) integers in [0, number of classes).
        classes: The names of the classes.

    Raises:
        ValueError: If the arrays are something else.

    Examples:
        >>> dataset = ArrayDataset(np.zeros((5, 8, 8, 3), np.uint8), [0, 1, 0, 1, 1], ('no', 'yes'))
        >>> batch = dataset.__getitems__([ViewKey(seed=0, view=7, sample=4), ViewKey(0, 7, 2)])
        >>> batch['inputs'].shape, batch['data_samples'].gt_label
        (torch.Size([2, 8, 8, 3]), tensor([1, 0]))
    """

    channel_order = 'RGB'

    def __init__(
        self, images: np.ndarray, labels: np.ndarray | Sequence[int], classes: Sequence[str]
    ) -> None:
        images, labels = np.ascontiguousarray(images), np.asarray(labels)
        name = type(self).__name__
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise ValueError(
                f'images of {name} must be (N, H, W, 3) uint8, but are {images.dtype} '
                f'{images.shape}'
            )
        if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f'labels of {name} must be {len(images)} integers, but are {labels.dtype} '
                f'{labels.shape}'
            )
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
            wrong = labels.min() if labels.min() < 0 else labels.max()
            raise ValueError(
                f'label {wrong} of {name} is out of range: there are {len(classes)} classes'
            )
        self.images = torch.from_numpy(images)
        self.labels = torch.from_numpy(labels.astype(np.int64))
        self.metainfo = dict(classes=tuple(classes))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, keys: Sequence[Any]) -> dict:
        """Return a batch.

        Args:
            keys: Views, from a :class:`ViewSampler`; or plain sample indices, whose images will
                not be augmented.

        Returns:
            ``inputs`` (N, H, W, 3) uint8 and ``data_samples``, a :class:`BatchSample`.

        Raises:
            ValueError: If the views are not one.
        """
        if not isinstance(keys[0], ViewKey):
            index = torch.tensor(keys)
            samples = BatchSample(
                metainfo=dict(sample_idx=index.numpy()), gt_label=self.labels.index_select(0, index)
            )
        else:
            seed, view, index = one_view(keys)
            samples = BatchSample(
                metainfo=dict(sample_idx=index.numpy(), view=view, first=keys[0]),
                gt_label=self.labels.index_select(0, index),
                view_key=view_keys(seed, view, index),
            )
        return dict(inputs=self.images.index_select(0, index), data_samples=samples)

    def __getitem__(self, key: ViewKey | int) -> dict:
        return self.__getitems__([key])


@FUNCTIONS.register_module()
def whole_batch(batch: dict) -> dict:
    """Collate a batch that the dataset returned whole: there is nothing left to do."""
    return batch
