"""What is measured of a student."""

from .logits import (
    accuracy,
    agreement,
    calibration_error,
    confidence_gap,
    measure,
    negative_log_likelihood,
)

__all__ = [
    'accuracy',
    'agreement',
    'calibration_error',
    'confidence_gap',
    'measure',
    'negative_log_likelihood',
]
