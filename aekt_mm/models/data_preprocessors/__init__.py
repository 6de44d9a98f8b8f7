"""Data preprocessors: from a batch as the dataset gives it to the model's input."""

from .batch_preprocessor import BatchPreprocessor, crop_and_flip
from .view_augmentation import ViewAugmentation
from .view_preprocessor import ViewPreprocessor

__all__ = ['BatchPreprocessor', 'ViewAugmentation', 'ViewPreprocessor', 'crop_and_flip']
