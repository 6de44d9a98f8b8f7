"""Distillers: models that train a student from a teacher."""

from .feature_pairs import FeaturePairs
from .logit_distiller import LogitDistiller

__all__ = ['FeaturePairs', 'LogitDistiller']
