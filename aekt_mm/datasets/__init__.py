"""Datasets in memory, prepared image sets, and views of any dataset."""

from .array_dataset import ArrayDataset, whole_batch
from .cifar100_arrays import CIFAR100Arrays
from .decoding import LoadRandomResizedCrop, PackPixels
from .digits import Digits
from .in_memory import InMemory
from .prepared_images import PreparedImages
from .samplers import ViewSampler
from .view_dataset import ViewDataset

__all__ = [
    'ArrayDataset',
    'CIFAR100Arrays',
    'Digits',
    'InMemory',
    'LoadRandomResizedCrop',
    'PackPixels',
    'PreparedImages',
    'ViewDataset',
    'ViewSampler',
    'whole_batch',
]
