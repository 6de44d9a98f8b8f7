"""Datasets in memory, prepared image sets, and views of any dataset."""

from .array_dataset import ArrayDataset, whole_batch
from .cifar100_arrays import CIFAR100Arrays
from .crop_dataset import CropDataset
from .digits import Digits
from .fashion_mnist_arrays import FashionMNISTArrays
from .holding_out import HeldOut
from .in_memory import InMemory
from .loading import CustomDataset, Food101, LoadImageFromFile
from .prepared_images import PreparedImages
from .samplers import ViewSampler
from .view_dataset import ViewDataset
from .whole_batches import WholeBatches

__all__ = [
    'ArrayDataset',
    'CIFAR100Arrays',
    'CropDataset',
    'CustomDataset',
    'Digits',
    'FashionMNISTArrays',
    'Food101',
    'HeldOut',
    'InMemory',
    'LoadImageFromFile',
    'PreparedImages',
    'ViewDataset',
    'ViewSampler',
    'WholeBatches',
    'whole_batch',
]
