"""A part of the training set that is held out, to choose settings on."""

from collections.abc import Sequence

import numpy as np
from mmengine.dataset import BaseDataset
from torch.utils.data import Dataset

from aekt_mm.registry import DATASETS, build

from .array_dataset import ArrayDataset

PARTS = ('fit', 'validation')


@DATASETS.register_module()
def HeldOut(dataset: dict | Dataset, part: str, share: float = 0.2, seed: int = 0) -> Dataset:
    """Return one of two parts of a dataset: what is trained on, or what is held out for validation.

    Every class keeps its share in both. Which samples are held out follows from their labels and
    ``seed`` alone.

    Args:
        dataset: An :class:`ArrayDataset` or a dataset of mmpretrain, or its config.
        part: 'fit' or 'validation'.
        share: What part of each class is held out, above 0 and below 1.
        seed: Of the choice.

    Returns:
        The dataset, reduced in place.

    Raises:
        ValueError: If an option is out of its range, or a part would be empty.

    Examples:
        >>> labels = [0, 1] * 50
        >>> parts = [
        ...     HeldOut(ArrayDataset(np.zeros((100, 8, 8, 3), np.uint8), labels, 'ab'), part)
        ...     for part in PARTS]
        >>> [part.labels.bincount().tolist() for part in parts]
        [[40, 40], [10, 10]]
    """
    if part not in PARTS:
        raise ValueError(f'part must be one of {PARTS}, but is {part!r}')
    if isinstance(dataset, dict):
        dataset = build(DATASETS, dataset)
    arrays = isinstance(dataset, ArrayDataset)
    labels = dataset.labels.numpy() if arrays else _labels(dataset)
    indices = split(labels, share, seed)[PARTS.index(part)]
    if arrays:
        dataset.images, dataset.labels = dataset.images[indices], dataset.labels[indices]
    else:
        dataset.get_subset_(indices.tolist())
    return dataset


def split(labels: Sequence[int], share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose which samples are held out.

    Args:
        labels: (N,) integers.
        share: What part of each class, above 0 and below 1, rounded to whole samples.
        seed: Of the choice.

    Returns:
        The indices of those kept and of those held out, each in ascending order.

    Raises:
        ValueError: If the share is out of its range, or nothing would be kept or held out.
    """
    if not isinstance(share, float) or not 0 < share < 1:
        raise ValueError(f'share must be a number above 0 and below 1, but is {share!r}')
    labels = np.asarray(labels)
    order = np.random.default_rng(seed).permutation(len(labels))
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        of_class = order[labels[order] == label]
        held_out[of_class[: round(share * len(of_class))]] = True
    kept, held_out = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    if not len(kept) or not len(held_out):
        raise ValueError(f'a share of {share:g} of {len(labels)} samples leaves a part empty')
    return kept, held_out


def _labels(dataset: BaseDataset) -> np.ndarray:
    dataset.full_init()
    return np.asarray(dataset.get_gt_labels())
