"""Datasets in memory, and views of any dataset."""

from .array_dataset import ArrayDataset, whole_batch
from .cifar100_arrays import CIFAR100Arrays
from .digits import Digits
from .fashion_mnist_arrays import FashionMNISTArrays
from .holding_out import HeldOut
from .in_memory import InMemory
from .samplers import ViewSampler
from .view_dataset import ViewDataset

__all__ = [
    'ArrayDataset',
    'CIFAR100Arrays',
    'Digits',
    'FashionMNISTArrays',
    'HeldOut',
    'InMemory',
    'ViewDataset',
    'ViewSampler',
    'whole_batch',
]
