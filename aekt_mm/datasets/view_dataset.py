"""Views of any dataset of mmpretrain."""

import torch
from torch.utils.data import Dataset

from aekt_mm.registry import DATASETS, build
from aekt_mm.structures import ViewKey, seeded, view_key


@DATASETS.register_module()
class ViewDataset(Dataset):
    """Let a dataset's pipeline draw its randomness from the view alone.

    Under it RandomResizedCrop, RandAugment, ColorJitter and whatever else draws from Python's,
    numpy's or torch's global generators gives the same images for any number of workers and ranks
    and after a resume. To be used with a :class:`ViewSampler`; a sample taken by its plain index
    draws as the wrapped dataset does. Where batches are mixed,
    :class:`~aekt_mm.models.data_preprocessors.ViewPreprocessor` does it.

    A data sample gets the meta fields ``sample_idx`` and ``view`` and the data field ``view_key``,
    (1,) int64.

    Args:
        dataset: An mmpretrain dataset with a pipeline that ends in ``PackInputs``, or its config.

    Raises:
        ValueError: Where a sample can't be read or prepared; the message names its file.
    """

    def __init__(self, dataset: dict | Dataset) -> None:
        self.dataset = build(DATASETS, dataset) if isinstance(dataset, dict) else dataset

    @property
    def metainfo(self) -> dict:
        """The wrapped dataset's."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Load the annotations, as MMEngine asks a dataset to."""
        self.dataset.full_init()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: ViewKey | int) -> dict:
        if not isinstance(key, ViewKey):
            return self.dataset[key]
        number = view_key(*key)
        with seeded(number):
            try:
                item = self.dataset[key.sample]
            except Exception as error:  # readers of images raise whatever they stumble over
                raise ValueError(self._unreadable(key.sample, error)) from error
        item['data_samples'].set_metainfo(dict(sample_idx=key.sample, view=key.view))
        item['data_samples'].view_key = torch.tensor([number])
        return item

    def _unreadable(self, sample: int, error: Exception) -> str:
        info = self.dataset.get_data_info(sample) if hasattr(self.dataset, 'get_data_info') else {}
        name = f'sample {sample} of {type(self.dataset).__name__}'
        return f'{info.get("img_path", name)} can not be read as an image: {error}'
