"""Distillers: models that train a student from a teacher."""

from .logit_distiller import LogitDistiller

__all__ = ['LogitDistiller']
