"""Held-out parts of a training set, for choosing settings."""

import os
from collections.abc import Hashable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from mmengine.dataset import ConcatDataset
from torch.utils.data import Dataset

from aekt_mm.registry import DATASETS, build

from .array_dataset import ArrayDataset
from .in_memory import InMemory
from .prepared_images import PreparedImages

PARTS = ('fit', 'validation')


@DATASETS.register_module()
def HeldOut(dataset: dict | Dataset, part: str, share: float = 0.2, seed: int = 0) -> Dataset:
    """Return one of two parts of a dataset: what is trained on, or what is held out for validation.

    Every class keeps its share in both. Which samples are held out follows from their labels and
    ``seed`` alone. What comes several times, since a wrapper repeats it or several datasets have
    it, is in one part alone, and once in that for validation.

    Args:
        dataset: An :class:`ArrayDataset` or a dataset of mmpretrain, or its config; or one of
            MMEngine's wrappers of such, which repeat, balance or join.
        part: 'fit' or 'validation'.
        share: What part of each class is held out, above 0 and below 1.
        seed: Of the choice.

    Returns:
        The dataset, reduced in place; for validation without what repeats it.

    Raises:
        TypeError: If the dataset does not tell its labels, or can't be reduced.
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
    whole: Any = build(DATASETS, dataset) if isinstance(dataset, dict) else dataset
    inner = list(_below_wrappers(whole))
    labels = np.concatenate([_labels(each) for each in inner])
    numbers: dict[Hashable, int] = {}  # of what is there, however often it comes
    names = chain.from_iterable(_names(each, alone=len(inner) == 1) for each in inner)
    number = np.array([numbers.setdefault(name, len(numbers)) for name in names])
    _, first = np.unique(number, return_index=True)
    chosen = np.zeros(len(numbers), bool)
    chosen[split(labels[first], share, seed)[PARTS.index(part)]] = True
    taken = chosen[number]
    if part == 'validation':
        taken &= np.isin(np.arange(len(number)), first)
    ends = np.cumsum([len(each) for each in inner])
    reduced = [
        _reduce(each, np.flatnonzero(own))
        for each, own in zip(inner, np.split(taken, ends[:-1]))
        if own.any()
    ]
    if part == 'validation':
        return reduced[0] if len(reduced) == 1 else ConcatDataset(reduced)
    _renew(whole)
    return whole


def split(
    labels: np.ndarray | Sequence[int], share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
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
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        of_class = order[labels[order] == label]
        chosen[of_class[: round(share * len(of_class))]] = True
    kept, held_out = np.flatnonzero(~chosen), np.flatnonzero(chosen)
    if not len(kept) or not len(held_out):
        raise ValueError(f'a share of {share:g} of {len(labels)} samples leaves a part empty')
    return kept, held_out


def _below_wrappers(dataset: Any) -> Iterator[Any]:
    if hasattr(dataset, 'get_subset_') and hasattr(dataset, 'get_gt_labels'):
        yield dataset
        return
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    if isinstance(dataset, ArrayDataset) or inner == [None]:
        yield dataset
        return
    for each in inner:
        yield from _below_wrappers(each)


def _renew(dataset: Any) -> None:
    """Let wrappers recount their samples."""
    for each in getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]:
        if each is not None:
            _renew(each)
            dataset._fully_initialized = False
    if hasattr(dataset, 'full_init'):
        dataset.full_init()


def _labels(dataset: Any) -> np.ndarray:
    if isinstance(dataset, ArrayDataset):
        return dataset.labels.numpy()
    if not (hasattr(dataset, 'get_subset_') and hasattr(dataset, 'get_gt_labels')):
        raise TypeError(
            f'no part of {type(dataset).__name__} can be held out: it has no get_gt_labels and '
            'get_subset_, as datasets of mmpretrain do'
        )
    dataset.full_init()
    return np.asarray(dataset.get_gt_labels())


def _names(dataset: Any, alone: bool) -> Iterator[Hashable]:
    """Return a key for each sample: its file, its pixels, or its number."""
    if isinstance(dataset, InMemory) or (isinstance(dataset, ArrayDataset) and not alone):
        return (image.tobytes() for image in dataset.images.numpy())
    if isinstance(dataset, ArrayDataset):
        return iter(range(len(dataset)))
    if isinstance(dataset, PreparedImages):
        return (f'{dataset.data_root}/{name}' for name in dataset.data_list.names())
    return (_name(dataset.get_data_info(index), index, alone) for index in range(len(dataset)))


def _name(info: dict, index: int, alone: bool) -> Hashable:
    if 'img_path' in info:
        return os.path.realpath(info['img_path'])
    return index if alone else np.asarray(info['img']).tobytes()


def _reduce(dataset: Any, indices: np.ndarray) -> Any:
    if isinstance(dataset, ArrayDataset):
        dataset.images, dataset.labels = dataset.images[indices], dataset.labels[indices]
    else:
        dataset.get_subset_(indices.tolist())
    return dataset
