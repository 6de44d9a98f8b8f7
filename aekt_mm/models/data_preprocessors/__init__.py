"""Data preprocessors: from a batch as the dataset gives it to the model's input."""

from .batch_preprocessor import BatchPreprocessor, crop_and_flip

__all__ = ['BatchPreprocessor', 'crop_and_flip']
