"""Random crops of a dataset's images, a batch at a time."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine import fileio
from torch.utils.data import Dataset, get_worker_info

from aekt_mm.registry import DATASETS
from aekt_mm.structures import BatchSample, ViewKey, draw, one_view, view_keys

from .decoding import Box, decode_crop, simplejpeg
from .view_dataset import ViewDataset

#: How often a crop is drawn that does not fit, before the middle of the image is taken.
ATTEMPTS = 10


@DATASETS.register_module()
class CropDataset(ViewDataset):
    """Random resized crops of a dataset's images, in whole batches.

    It stands in the place of a ``ViewDataset`` whose pipeline loads and crops, where all other
    augmentation is left to ``view_augments`` of
    :class:`~aekt_mm.models.data_preprocessors.ViewPreprocessor`; the pipeline of the dataset is not
    used. A batch's crops are drawn at once, decoded to size (see
    ``decode_crop``), and resized to where they lie in the batch: no
    step is left that costs an image much beside decoding. Crops are those of mmpretrain's
    ``RandomResizedCrop`` (Szegedy et al., 2015), drawn from the view by other numbers.

    To be used with a :class:`ViewSampler` and ``collate_fn=dict(type='whole_batch')``.

    Args:
        dataset: An mmpretrain dataset of image files with one label each, or its config.
        scale: Height and width of the crops in pixels; one number for both.
        crop_ratio_range: Of a crop's area to its image's.
        aspect_ratio_range: Of a crop's width to its height.
        interpolation: mmcv's name of how crops are resized.
        backend_args: Of MMEngine's file backend.
        max_unreadable: As :class:`ViewDataset`'s.

    Raises:
        ImportError: If simplejpeg is not installed.
        ValueError: If an option is out of its range.
    """

    channel_order = 'BGR'  # as mmcv reads files

    def __init__(
        self,
        dataset: dict | Dataset,
        scale: int | tuple[int, int],
        crop_ratio_range: tuple[float, float] = (0.08, 1.0),
        aspect_ratio_range: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = 'bilinear',
        backend_args: dict | None = None,
        max_unreadable: int = 0,
    ) -> None:
        super().__init__(dataset, max_unreadable)
        if simplejpeg is None:
            raise ImportError(
                'CropDataset decodes with simplejpeg, which is not installed: '
                'pip install simplejpeg'
            )
        self.scale = (scale, scale) if isinstance(scale, int) else tuple(scale)
        if len(self.scale) != 2 or min(self.scale) < 1:
            raise ValueError(f'scale must be one or two numbers above 0, but is {scale!r}')
        for name, (least, most) in dict(
            crop_ratio_range=crop_ratio_range, aspect_ratio_range=aspect_ratio_range
        ).items():
            if not 0 < least <= most or (name == 'crop_ratio_range' and most > 1):
                raise ValueError(f'{name} is no range of ratios: {(least, most)!r}')
        self.crop_ratio_range: Any = tuple(crop_ratio_range)
        self.aspect_ratio_range: Any = tuple(aspect_ratio_range)
        self.interpolation = interpolation
        self.backend_args = backend_args

    @property
    def pipeline(self) -> dict:
        """What is done to images, as a teacher's cache compares it."""
        names = ('scale', 'crop_ratio_range', 'aspect_ratio_range', 'interpolation')
        return {name: getattr(self, name) for name in names}

    def __getitems__(self, keys: Sequence[Any]) -> dict:  # type: ignore[override]  # whole
        """Return a batch.

        Args:
            keys: Views, from a :class:`ViewSampler`.

        Returns:
            ``inputs`` (N, height, width, 3) uint8, BGR, and ``data_samples``, a
            :class:`~aekt_mm.structures.BatchSample`.

        Raises:
            TypeError: If samples are asked for by plain indices.
            ValueError: If the views are not one, or more samples can't be read than may be.
        """
        if not isinstance(keys[0], ViewKey):
            raise TypeError(
                'crops are drawn from views, but a plain index has none: set '
                "sampler=dict(type='ViewSampler') in train_dataloader"
            )
        seed, view, index = one_view(keys)
        # not from the samples' own keys, whose numbers flip and jitter the images on the device
        draws = draw(view_keys(seed, view, -1 - index), 4 * ATTEMPTS)
        crops = _batch_memory(len(keys), *self.scale, 3)
        labels = [
            self._read(sample, partial(self._load, draws=drawn, crop=crop))
            for sample, drawn, crop in zip(index.tolist(), draws.T.tolist(), crops.numpy())
        ]
        samples = BatchSample(
            metainfo=dict(sample_idx=index.numpy(), view=view),
            gt_label=torch.tensor(labels),
            view_key=view_keys(seed, view, index),
        )
        return dict(inputs=crops, data_samples=samples)

    def __getitem__(self, key: ViewKey | int) -> dict:
        return self.__getitems__([key])

    def _load(self, index: int, draws: list[float], crop: np.ndarray) -> int:
        """Write a sample's crop, and return its label."""
        info = self.dataset.get_data_info(index)
        data = fileio.get(info['img_path'], backend_args=self.backend_args)
        choose = partial(
            random_crop, draws=draws, areas=self.crop_ratio_range, aspects=self.aspect_ratio_range
        )
        decode_crop(data, choose, crop, self.interpolation)
        return int(info['gt_label'])


def _batch_memory(*shape: int) -> torch.Tensor:
    """Return uninitialised memory for a batch.

    In a loader's worker they are shared with the training process at once, as those of torch's
    ``default_collate`` are: handing the batch over copies nothing then.
    """
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    storage = torch.UntypedStorage._new_shared(math.prod(shape))
    memory: Any = torch.empty(0, dtype=torch.uint8)
    return memory.set_(storage, 0, shape)


def random_crop(
    height: int,
    width: int,
    draws: Sequence[float],
    areas: tuple[float, float],
    aspects: tuple[float, float],
) -> Box:
    """Return the first crop that fits, of what is drawn, or else the middle of an image.

    Args:
        height: Of the image in pixels.
        width: Of the image in pixels.
        draws: Numbers in [0, 1), for each attempt four: for area, aspect, top and left.
        areas: The range of a crop's area, where the image's is 1.
        aspects: The range of its width over its height, drawn evenly in its logarithm.
    """
    smallest, largest = areas
    narrowest, widest = map(math.log, aspects)
    numbers = iter(draws)
    for area, aspect, top, left in zip(numbers, numbers, numbers, numbers):
        area = (smallest + area * (largest - smallest)) * (height * width)
        aspect = math.exp(narrowest + aspect * (widest - narrowest))
        rows, columns = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < rows <= height and 0 < columns <= width:
            return int(top * (height - rows + 1)), int(left * (width - columns + 1)), rows, columns
    rows = max(1, min(height, round(width / aspects[0])))
    columns = max(1, min(width, round(height * aspects[1])))
    return (height - rows) // 2, (width - columns) // 2, rows, columns
