"""Batches of an in-memory data set, without a dataloader, on the model's device."""

from collections.abc import Iterator
from typing import Any

import torch
from mmengine.dataset import DefaultSampler
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader

from aekt_mm.structures import BatchSample, ViewKey, view_keys

from .array_dataset import ArrayDataset, whole_batch
from .samplers import ViewSampler

#: How much of a GPU's free memory a data set may take.
MEMORY_SHARE = 0.25


class WholeBatches:
    """A dataloader's batches without the dataloader: one indexing operation each.

    They are those of the loader, in its order. The images lie on the model's device, so that a step
    copies nothing and has no Python that grows with the batch. On a GPU a data set that would take
    more than ``MEMORY_SHARE`` of the free memory stays on the CPU, and its batches are copied.

    Args:
        loader: One that :meth:`serves` says yes to.
        device: Of the model.

    Examples:
        >>> import numpy as np
        >>> images = np.zeros((5, 8, 8, 3), np.uint8)
        >>> dataset = ArrayDataset(images, [0, 1, 0, 1, 1], ('no', 'yes'))
        >>> sampler = ViewSampler(dataset, seed=0)
        >>> loader = DataLoader(dataset, batch_size=2, sampler=sampler, collate_fn=whole_batch)
        >>> batches = WholeBatches(loader, torch.device('cpu'))
        >>> [len(batch['data_samples']) for batch in batches.starting_at(1)]
        [2, 1]
    """

    def __init__(self, loader: DataLoader, device: torch.device) -> None:
        self.loader = loader
        dataset: Any = loader.dataset
        images, labels = dataset.images, dataset.labels
        if device.type == 'cuda':
            free, _ = torch.cuda.mem_get_info(device)
            if images.numel() > MEMORY_SHARE * free:
                device = torch.device('cpu')
        self.images, self.labels = images.to(device), labels.to(device)

    @staticmethod
    def serves(loader: DataLoader) -> bool:
        """Return whether a loader's batches are indexing operations and nothing else."""
        dataset, collate = loader.dataset, loader.collate_fn
        return (
            isinstance(dataset, ArrayDataset)
            and type(dataset).__getitems__ is ArrayDataset.__getitems__
            and getattr(collate, 'func', collate) is whole_batch
            and type(loader.sampler) in (ViewSampler, DefaultSampler)
            and type(loader.batch_sampler) is BatchSampler
            and loader.num_workers == 0
        )

    def starting_at(self, first: int) -> Iterator[dict]:
        """Return the rest of the epoch that the sampler is at.

        Args:
            first: The number of the batch to begin with.

        Returns:
            Batches as the data set makes them, see ``ArrayDataset.__getitems__``, with
            ``sample_idx`` a tensor among the data fields.
        """
        sampler: Any = self.loader.sampler
        size = self.loader.batch_size or 1  # what serves() has seen to have one
        viewed = isinstance(sampler, ViewSampler)
        numbers = list(sampler.samples() if viewed else sampler)
        count = len(self.loader) * size if self.loader.drop_last else len(numbers)
        order = torch.tensor(numbers[:count], device=self.images.device)
        labels = self.labels.index_select(0, order)
        keys = view_keys(sampler.view_seed, sampler.view, order) if viewed else None
        for start in range(first * size, count, size):
            part = slice(start, start + size)
            fields = dict(gt_label=labels[part], sample_idx=order[part])
            meta = {}
            if keys is not None:
                fields['view_key'] = keys[part]
                key = ViewKey(sampler.view_seed, sampler.view, numbers[start])
                meta = dict(view=sampler.view, first=key)
            yield dict(
                inputs=self.images.index_select(0, order[part]), data_samples=_sample(fields, meta)
            )


def _sample(fields: dict[str, Tensor], meta: dict) -> BatchSample:
    samples = BatchSample(**fields)
    for name, value in meta.items():  # set_metainfo would copy them deeply
        samples.set_field(value, name, field_type='metainfo')
    return samples
