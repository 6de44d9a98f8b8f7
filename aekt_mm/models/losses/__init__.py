"""Distillation losses on logits; their files need nothing but torch."""

from aekt_mm.registry import EXPLICIT_TERMS, MODELS

from .aekt_loss import AEKTLoss
from .curriculum_temperature import CurriculumTemperature
from .decomposition import decompose, nontarget_entropy
from .dist_loss import DISTLoss
from .distill_loss import DistillLoss, bernoulli_kl, confidence_ratio
from .dkd_loss import DKDLoss
from .explicit_terms import GapWeighted, LogRatio, RatioWeighted, TargetKL, TeacherWeighted
from .kd_loss import KDLoss
from .logit_loss import LogitLoss
from .logit_transforms import LogitStandardization
from .mlkd_loss import MLKDLoss
from .nkd_loss import NKDLoss
from .rld_loss import RLDLoss
from .ttm_loss import TTMLoss

for part in (
    *(KDLoss, DKDLoss, AEKTLoss, NKDLoss, DISTLoss, TTMLoss, RLDLoss, MLKDLoss),
    *(CurriculumTemperature, LogitStandardization),
):
    MODELS.register_module(module=part)
for term in (RatioWeighted, LogRatio, GapWeighted, TeacherWeighted, TargetKL):
    EXPLICIT_TERMS.register_module(module=term)

__all__ = [
    'AEKTLoss',
    'CurriculumTemperature',
    'DISTLoss',
    'DKDLoss',
    'DistillLoss',
    'GapWeighted',
    'KDLoss',
    'LogRatio',
    'LogitLoss',
    'LogitStandardization',
    'MLKDLoss',
    'NKDLoss',
    'RLDLoss',
    'RatioWeighted',
    'TTMLoss',
    'TargetKL',
    'TeacherWeighted',
    'bernoulli_kl',
    'confidence_ratio',
    'decompose',
    'nontarget_entropy',
]
