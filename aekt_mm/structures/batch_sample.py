"""The labels of a whole batch."""

from collections.abc import Iterator, Sequence
from itertools import repeat

import numpy as np
import torch
from mmpretrain.structures import DataSample
from torch import Tensor


class BatchSample(DataSample):
    """The data samples of a batch in one: each field holds N samples.

    Data fields, which follow the model from device to device: ``gt_label`` (N,) int64, in training
    ``view_key`` (N,) int64, and where classes are mixed ``gt_score`` (N, C). Meta fields, which
    stay: ``sample_idx``, a numpy array (N,) int64, and in training ``view``, the number of the
    view that all samples are in.

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
        score = self.gt_score[index] if 'gt_score' in self else None
        return _sample(self.gt_label[index].reshape(1), score)

    def __iter__(self) -> Iterator[DataSample]:
        # heads iterate in every step: taking all labels apart at once is what costs least
        scores = self.gt_score if 'gt_score' in self else repeat(None)
        return map(_sample, self.gt_label[:, None].unbind(), scores)


def _sample(label: Tensor, score: Tensor | None) -> DataSample:
    sample = DataSample()
    sample.gt_label = label
    if score is not None:
        sample.gt_score = score
    return sample


def batch_views(data_samples: Sequence[DataSample]) -> tuple[int, np.ndarray, Tensor]:
    """Return where a batch's logits are kept.

    Args:
        data_samples: N samples in the same view, or a batch of them in one.

    Returns:
        The view, the samples' indices in the dataset (N,) int64, and their labels (N,) int64.
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
        (N,) int64 on the CPU, or None where samples do not know them.
    """
    first = data_samples if isinstance(data_samples, BatchSample) else data_samples[0]
    if 'sample_idx' not in first:
        return None
    if isinstance(data_samples, BatchSample):
        return torch.from_numpy(np.asarray(data_samples.sample_idx, dtype=np.int64))
    return torch.tensor([sample.sample_idx for sample in data_samples])


def batch_key(data_samples: Sequence[DataSample]) -> int:
    """Return what the randomness of a batch as a whole is drawn from: its first sample's view.

    Args:
        data_samples: N samples, or a batch of them in one.

    Raises:
        TypeError: If they are in no view.
    """
    whole = isinstance(data_samples, BatchSample)
    first = data_samples if whole else data_samples[0]
    if 'view_key' not in first:
        raise TypeError(
            'augmentation is drawn from views, but the batch has none: set '
            "sampler=dict(type='ViewSampler') in train_dataloader"
        )
    return int(first.view_key[0]) if whole else first.view_key


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
