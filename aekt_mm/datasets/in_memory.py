"""Small datasets of mmpretrain, read once."""

import numpy as np
from torch.utils.data import Dataset

from aekt_mm.progress import track
from aekt_mm.registry import DATASETS, build
from aekt_mm.structures import data_order

from .array_dataset import ArrayDataset


@DATASETS.register_module()
class InMemory(ArrayDataset):
    """A dataset of mmpretrain whose images are read once and kept in memory, in RGB.

    Args:
        dataset: An mmpretrain dataset, or its config. Its pipeline draws nothing at random, makes
            uint8 images of one size and ends in ``PackInputs``.
        to_rgb: Whether its images are BGR. By default as its pipeline says, see
            :func:`~aekt_mm.structures.data_order`: files are, as mmcv reads them, and arrays not.

    Raises:
        ValueError: If images are not of one size or not uint8, or the dataset is empty.
    """

    def __init__(self, dataset: dict | Dataset, to_rgb: bool | None = None) -> None:
        if isinstance(dataset, dict):
            dataset = build(DATASETS, dataset)
        if to_rgb is None:
            to_rgb = data_order(dataset) == 'BGR'
        images, labels = None, []
        for index in track(range(len(dataset)), 'images read into memory'):
            item = dataset[index]
            image = item['inputs'].permute(1, 2, 0).numpy()
            if images is None:
                images = np.empty((len(dataset), *image.shape), image.dtype)
            if image.shape != images.shape[1:]:
                raise ValueError(
                    f'image {index} is {image.shape}, but the first is {images.shape[1:]}: add a '
                    'Resize to the pipeline'
                )
            images[index] = image[..., ::-1] if to_rgb else image
            labels.append(int(item['data_samples'].gt_label))
        if images is None:
            raise ValueError(f'{type(dataset).__name__} has no images')
        super().__init__(images, labels, dataset.metainfo['classes'])
