"""Measures of a student's logits."""

from .logits import (
    Reliability,
    accuracy,
    agreement,
    calibration_error,
    confidence_gap,
    measure,
    negative_log_likelihood,
    reliability,
    target_confidence,
)
from .similarity import (
    class_by_class,
    kl_divergence,
    linear_cka,
    logit_correlation,
    soft_confusion,
)

__all__ = [
    'Reliability',
    'accuracy',
    'agreement',
    'calibration_error',
    'class_by_class',
    'confidence_gap',
    'kl_divergence',
    'linear_cka',
    'logit_correlation',
    'measure',
    'negative_log_likelihood',
    'reliability',
    'soft_confusion',
    'target_confidence',
]
