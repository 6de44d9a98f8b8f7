"""Small datasets of mmpretrain, read once."""

import os
import platform
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import all_gather_object, get_rank
from mmengine.logging import print_log
from torch.utils.data import Dataset

from aekt_mm.files import reserve_space
from aekt_mm.progress import track
from aekt_mm.registry import DATASETS, build
from aekt_mm.structures import data_order

from .array_dataset import ArrayDataset
from .view_dataset import sample_name, unreadable_message

#: How many images that can't be read are named.
NAMED = 20


@DATASETS.register_module()
class InMemory(ArrayDataset):
    """A dataset of mmpretrain whose images are read once and kept in memory, in RGB.

    In a distributed run the processes of a machine share the pixels, and the work of reading them.

    Args:
        dataset: An mmpretrain dataset, or its config. Its pipeline draws nothing at random, makes
            uint8 images of one size and ends in ``PackInputs``.
        max_unreadable: How many images that can't be read are left out, in a warning that names
            them.
        to_rgb: Whether its images are BGR. By default as its pipeline says, see
            :func:`~aekt_mm.structures.data_order`: files are, as mmcv reads them, and arrays not.

    Raises:
        ValueError: If images are not of one size or not uint8, the dataset is empty, or more images
            can't be read, all of which the message counts.
    """

    def __init__(
        self, dataset: dict | Dataset, to_rgb: bool | None = None, max_unreadable: int = 0
    ) -> None:
        if max_unreadable < 0:
            raise ValueError(f'max_unreadable must be at least 0, but is {max_unreadable}')
        source: Any = build(DATASETS, dataset) if isinstance(dataset, dict) else dataset
        if to_rgb is None:
            to_rgb = data_order(source) == 'BGR'
        if len(source) == 0:
            raise ValueError(f'{type(source).__name__} has no images')
        peers = _processes_of_this_machine()
        first = _first_readable(source, to_rgb)
        images = _array((len(source), *first.shape), first.dtype, peers)
        labels = np.empty(len(source), np.int64)
        unreadable: dict[int, str] = {}
        mine = range(peers.index(get_rank()), len(source), len(peers))
        for index in track(mine, 'images read into memory') if get_rank() == 0 else mine:
            try:
                item = source[index]
            except Exception as error:  # readers of images raise whatever they stumble over
                unreadable[index] = unreadable_message(source, index, error)
                continue
            image = _pixels(item, to_rgb)
            if image.shape != first.shape:
                raise ValueError(
                    f'{sample_name(source, index)} is {image.shape}, but the first image is '
                    f'{first.shape}: add a Resize to the pipeline'
                )
            images[index] = image
            labels[index] = item['data_samples'].gt_label.item()
        read = all_gather_object((labels[mine], unreadable))  # and the images of all are there
        for place, rank in enumerate(peers):
            labels[place :: len(peers)] = read[rank][0]
            unreadable |= read[rank][1]
        if unreadable:
            self._check(unreadable, max_unreadable)
            readable = np.setdiff1d(np.arange(len(source)), list(unreadable))
            images, labels = images[readable], labels[readable]
        super().__init__(images, labels, source.metainfo['classes'])

    @staticmethod
    def _check(unreadable: dict[int, str], most: int) -> None:
        """Name unreadable images: in a warning up to ``most`` of them, else in an error."""
        lines = [unreadable[index] for index in sorted(unreadable)]
        message = '\n  '.join(
            [f"{len(lines)} images can't be read, max_unreadable is {most}:", *lines[:NAMED]]
        )
        message += f'\n  ... and {len(lines) - NAMED} more' if len(lines) > NAMED else ''
        if len(lines) > most:
            raise ValueError(message)
        print_log(message, 'current', level=30)


def _first_readable(dataset: Any, to_rgb: bool) -> np.ndarray:
    for index in range(len(dataset)):
        with suppress(Exception):
            return _pixels(dataset[index], to_rgb)
    dataset[0]  # raises what is wrong with all of them
    raise ValueError(f'{type(dataset).__name__} has no image that can be read')


def _pixels(item: dict, to_rgb: bool) -> np.ndarray:
    """Return (H, W, 3), RGB."""
    image = item['inputs'].permute(1, 2, 0).numpy()
    return image[..., ::-1] if to_rgb else image


def _processes_of_this_machine() -> Sequence[int]:
    """Return the ranks of a run, or of its part on this machine, in order."""
    boot = Path('/proc/sys/kernel/random/boot_id')  # names may come twice in a cluster
    machine = platform.node(), boot.read_text() if boot.is_file() else ''
    machines = all_gather_object(machine)
    return [rank for rank, other in enumerate(machines) if other == machine]


def _array(shape: tuple[int, ...], dtype: np.dtype, peers: Sequence[int]) -> np.ndarray:
    """Return one array, shared by all processes of this machine.

    It is a file without a name, mapped by each: other than shared memory it has no limit in a
    container, and is gone with the last process, however that ends.
    """
    path = None
    if len(peers) > 1 and get_rank() == peers[0]:
        handle, path = tempfile.mkstemp(prefix='aekt_mm_')
        with os.fdopen(handle, 'wb') as file:
            reserve_space(file, int(np.prod(shape)) * dtype.itemsize)
    path = all_gather_object(path)[peers[0]]
    if path is None:
        return np.empty(shape, dtype)
    array = np.memmap(path, dtype, 'r+', shape=shape)
    all_gather_object(None)  # until it is mapped by all
    if get_rank() == peers[0]:
        Path(path).unlink()
    return array.view(np.ndarray)
