"""What travels between datasets, models and metrics."""

from .batch_sample import BatchSample, batch_indices, batch_key, batch_target, batch_views
from .views import ViewKey, draw, seeded, view_keys

__all__ = [
    'BatchSample',
    'ViewKey',
    'batch_indices',
    'batch_key',
    'batch_target',
    'batch_views',
    'draw',
    'seeded',
    'view_keys',
]
