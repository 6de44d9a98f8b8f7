"""Distillation losses on logits; their files need nothing but torch."""

from aekt_mm.registry import EXPLICIT_TERMS, MODELS

from .aekt_loss import AEKTLoss
from .decomposition import decompose
from .distill_loss import DistillLoss, bernoulli_kl
from .dkd_loss import DKDLoss
from .explicit_terms import (
    GapWeighted,
    LogRatio,
    RatioPull,
    RatioWeighted,
    TargetKL,
    TeacherWeighted,
)
from .kd_loss import KDLoss

for loss in (KDLoss, DKDLoss, AEKTLoss):
    MODELS.register_module(module=loss)
for term in (RatioWeighted, RatioPull, LogRatio, GapWeighted, TeacherWeighted, TargetKL):
    EXPLICIT_TERMS.register_module(module=term)

__all__ = [
    'AEKTLoss',
    'DKDLoss',
    'DistillLoss',
    'GapWeighted',
    'KDLoss',
    'LogRatio',
    'RatioPull',
    'RatioWeighted',
    'TargetKL',
    'TeacherWeighted',
    'bernoulli_kl',
    'decompose',
]
