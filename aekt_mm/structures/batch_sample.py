"""The labels of a whole batch."""

from collections.abc import Iterator, Sequence
from itertools import repeat

import numpy as np
import torch
from mmpretrain.structures import DataSample
from torch import Tensor

from .views import view_key


class BatchSample(DataSample):
    """The data samples of a batch in one: each field holds N samples.

    Data fields, which follow the model from device to device: ``gt_label`` (N,) int64, in training
    ``view_key`` (N,) int64, and where classes are mixed ``gt_score`` (N, C). Meta fields, which
    stay: in training ``view``, the number of the view that all samples are in, and ``first``, the
    :class:`~aekt_mm.structures.ViewKey` of the first sample. ``sample_idx`` (N,) int64 is a numpy
    array among the meta fields, or a tensor among the data fields where the images are on the
    model's device already.

    It is also a sequence of mmpretrain's data samples, so that every head and metric takes it.

    Examples:
        >>> batch = BatchSample(gt_label=torch.tensor([3, 5]))
        >>> len(batch), batch[1].gt_label
        (2, tensor([5]))
    """

    def __len__(self) -> int:
        return len(self.gt_label)

    def __getitem__(self, index: int) -> DataSample:
        if not -len(self) <= index < len(self):
            raise IndexError(f'sample {index} of a batch of {len(self)}')
        return self._parts()[index]

    def __iter__(self) -> Iterator[DataSample]:
        return iter(self._parts())

    def _parts(self) -> list[DataSample]:
        """Return the samples one by one, the same ones as long as the labels are.

        Some classifiers note their predictions on them, and return the batch.
        """
        labels, scores = self.gt_label, self.gt_score if 'gt_score' in self else None
        made_of, parts = self.__dict__.get('_made', ((None, None), None))
        if made_of[0] is not labels or made_of[1] is not scores:
            # heads iterate in every step: taking all labels apart at once is what costs least
            each = repeat(None) if scores is None else scores
            parts = list(map(_sample, labels[:, None].unbind(), each))
            self.__dict__['_made'] = (labels, scores), parts
        return parts

    def pin_memory(self) -> 'BatchSample':
        """Return the batch in pinned memory, as loaders ask."""
        pinned = self.clone()
        for name, value in self.items():
            pinned.set_field(value.pin_memory(), name)
        return pinned


def _sample(label: Tensor, score: Tensor | None) -> DataSample:
    sample = DataSample()
    sample.gt_label = label
    if score is not None:
        sample.gt_score = score
    return sample


def batch_views(data_samples: Sequence[DataSample]) -> tuple[int, np.ndarray | Tensor, Tensor]:
    """Return the place of a batch's logits in a cache.

    Args:
        data_samples: N samples in the same view, or a batch of them in one.

    Returns:
        The view, the samples' indices in the dataset (N,) int64, and their labels (N,) int64. The
        indices are a tensor where a :class:`BatchSample` has one, else a numpy array.
    """
    if isinstance(data_samples, BatchSample):
        return data_samples.view, data_samples.sample_idx, data_samples.gt_label
    samples = np.array([sample.sample_idx for sample in data_samples])
    return data_samples[0].view, samples, batch_labels(data_samples)


def batch_labels(data_samples: Sequence[DataSample]) -> Tensor:
    """Return a batch's class indices, whether classes are mixed or not, (N,) int64.

    Args:
        data_samples: N samples, or a batch of them in one.
    """
    if isinstance(data_samples, BatchSample):
        return data_samples.gt_label
    return torch.cat([sample.gt_label for sample in data_samples])


def batch_indices(data_samples: Sequence[DataSample]) -> Tensor | None:
    """Return the indices of a batch's samples in their dataset.

    Args:
        data_samples: N samples, or a batch of them in one.

    Returns:
        (N,) int64, or None where samples do not know them. On the CPU, unless a
        :class:`BatchSample` has them on another device.
    """
    first = data_samples if isinstance(data_samples, BatchSample) else data_samples[0]
    if 'sample_idx' not in first:
        return None
    if isinstance(data_samples, BatchSample):
        return torch.as_tensor(data_samples.sample_idx)
    return torch.tensor([sample.sample_idx for sample in data_samples])


def require_views(data_samples: Sequence[DataSample]) -> None:
    """Check that a batch has views, from which its augmentation is drawn.

    Args:
        data_samples: N samples, or a batch of them in one.

    Raises:
        TypeError: If it has none.
    """
    first = data_samples if isinstance(data_samples, BatchSample) else data_samples[0]
    if 'view_key' not in first:
        raise TypeError(
            'augmentation is drawn from views, but the batch has none: set '
            "sampler=dict(type='ViewSampler') in train_dataloader"
        )


def batch_key(data_samples: Sequence[DataSample]) -> int:
    """Return the key of a whole batch's randomness: its first sample's.

    Args:
        data_samples: N samples, or a batch of them in one.

    Raises:
        TypeError: If they are in no view.
    """
    require_views(data_samples)
    if not isinstance(data_samples, BatchSample):
        return data_samples[0].view_key
    if 'first' in data_samples:
        return view_key(*data_samples.first)  # to read it off the keys would wait for the device
    return int(data_samples.view_key[0])


def batch_target(data_samples: Sequence[DataSample]) -> Tensor:
    """Return a batch's labels in the form that losses take.

    Args:
        data_samples: N samples, or a batch of them in one.

    Returns:
        Class shares ``gt_score`` (N, C), floating point, where samples have them (mixup, cutmix),
        or else class indices ``gt_label`` (N,), int64.

    Examples:
        >>> batch_target([DataSample().set_gt_label(label) for label in (3, 5)])
        tensor([3, 5])
    """
    if isinstance(data_samples, BatchSample):
        return data_samples.gt_score if 'gt_score' in data_samples else data_samples.gt_label
    if 'gt_score' in data_samples[0]:
        return torch.stack([sample.gt_score for sample in data_samples])
    return batch_labels(data_samples)
