"""Distillation losses on logits and on features; their files need nothing but torch."""

from aekt_mm.registry import EXPLICIT_TERMS, MODELS

from .aekt_loss import AEKTLoss
from .at_loss import ATLoss
from .crd_loss import CRDLoss
from .curriculum_temperature import CurriculumTemperature
from .decomposition import decompose, nontarget_entropy
from .dist_loss import DISTLoss
from .distill_loss import DistillLoss, bernoulli_kl, confidence_ratio
from .divergence import divergence
from .dkd_loss import DKDLoss
from .explicit_terms import (
    GapWeighted,
    LogRatio,
    RatioPull,
    RatioWeighted,
    TargetKL,
    TeacherWeighted,
)
from .feature_loss import FeatureLoss
from .fitnet_loss import FitNetLoss
from .kd_loss import KDLoss
from .logit_loss import LogitLoss
from .logit_transforms import LogitStandardization
from .mlkd_loss import MLKDLoss
from .nkd_loss import NKDLoss
from .reviewkd_loss import ReviewKDLoss
from .rkd_loss import RKDLoss
from .rld_loss import RLDLoss
from .tempered_loss import TemperedLoss
from .ttm_loss import TTMLoss

_BASES = (LogitLoss, TemperedLoss, DistillLoss, FeatureLoss)
for part in list(vars().values()):  # every loss that is imported here
    if isinstance(part, type) and issubclass(part, _BASES) and part not in _BASES:
        MODELS.register_module(module=part)
for part in (CurriculumTemperature, LogitStandardization):
    MODELS.register_module(module=part)
for term in (RatioWeighted, RatioPull, LogRatio, GapWeighted, TeacherWeighted, TargetKL):
    EXPLICIT_TERMS.register_module(module=term)

__all__ = [
    'AEKTLoss',
    'ATLoss',
    'CRDLoss',
    'CurriculumTemperature',
    'DISTLoss',
    'DKDLoss',
    'DistillLoss',
    'FeatureLoss',
    'FitNetLoss',
    'GapWeighted',
    'KDLoss',
    'LogRatio',
    'LogitLoss',
    'LogitStandardization',
    'MLKDLoss',
    'NKDLoss',
    'RKDLoss',
    'RLDLoss',
    'RatioPull',
    'RatioWeighted',
    'ReviewKDLoss',
    'TTMLoss',
    'TargetKL',
    'TeacherWeighted',
    'TemperedLoss',
    'bernoulli_kl',
    'confidence_ratio',
    'decompose',
    'divergence',
    'nontarget_entropy',
]
