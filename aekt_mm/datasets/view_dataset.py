"""Views of any dataset of mmpretrain."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from mmengine.logging import print_log
from torch.utils.data import Dataset

from aekt_mm.registry import DATASETS, build
from aekt_mm.structures import ViewKey, kept_generators, seed_generators, view_key


@DATASETS.register_module()
class ViewDataset(Dataset):
    """Let a dataset's pipeline draw its randomness from the view alone.

    Under it RandomResizedCrop, RandAugment, ColorJitter and whatever else draws from Python's,
    numpy's or torch's global generators gives the same images for any number of workers and ranks
    and after a resume. To be used with a :class:`ViewSampler`; a sample taken by its plain index
    draws as the wrapped dataset does. Where batches are mixed,
    :class:`~aekt_mm.models.data_preprocessors.ViewPreprocessor` does it.

    A data sample gets the meta fields ``sample_idx``, ``view`` and ``view_key``, integers.

    Args:
        dataset: An mmpretrain dataset with a pipeline that ends in ``PackInputs``, or its config.
        max_unreadable: How many samples that can't be read a process passes over, each with a
            warning that names its file; the next one takes its place.

    Raises:
        ValueError: Where more samples can't be read or prepared; the message names a file.
    """

    def __init__(self, dataset: dict | Dataset, max_unreadable: int = 0) -> None:
        if max_unreadable < 0:
            raise ValueError(f'max_unreadable must be at least 0, but is {max_unreadable}')
        self.dataset: Any = build(DATASETS, dataset) if isinstance(dataset, dict) else dataset
        self.max_unreadable = max_unreadable
        self.unreadable: set[int] = set()

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
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[Any]) -> list[dict]:
        """Return a batch's samples, as torch's loader asks for them.

        To keep and restore the generators takes longer than to draw a crop: once for all of them.
        """
        if not isinstance(keys[0], ViewKey):
            return [self.dataset[key] for key in keys]
        with kept_generators():
            return [self._view(key) for key in keys]

    def _view(self, key: ViewKey) -> dict:
        number = view_key(*key)
        seed_generators(number)
        item = self._read(key.sample, self.dataset.__getitem__)
        for name, value in dict(sample_idx=key.sample, view=key.view, view_key=number).items():
            item['data_samples'].set_field(value, name, field_type='metainfo')
        return item

    def _read(self, sample: int, load: Callable[[int], Any]) -> Any:
        """Load a sample, or the next one that can be read."""
        for index in chain(range(sample, len(self)), range(sample)):
            try:
                return load(index)
            except Exception as error:  # readers of images raise whatever they stumble over
                seen = index in self.unreadable
                self.unreadable.add(index)
                if len(self.unreadable) > self.max_unreadable:
                    raise ValueError(self._message(index, error)) from error
                if not seen:
                    print_log(self._message(index, error), 'current', level=30)
        raise ValueError(f'{type(self.dataset).__name__} has no sample that can be read')

    def _message(self, sample: int, error: Exception) -> str:
        message = unreadable_message(self.dataset, sample, error)
        found, most = len(self.unreadable), self.max_unreadable
        return message + (f' ({found} unreadable, max_unreadable is {most})' if most else '')


def sample_name(dataset: Any, sample: int) -> str:
    """Return the path of a sample's file, or else its number."""
    info = dataset.get_data_info(sample) if hasattr(dataset, 'get_data_info') else {}
    return str(info.get('img_path', f'sample {sample} of {type(dataset).__name__}'))


def unreadable_message(dataset: Any, sample: int, error: Exception) -> str:
    """Say which sample can't be read, and why."""
    name = sample_name(dataset, sample)
    return str(error) if name in str(error) else f'{name} can not be read: {error}'
