"""What travels between datasets, models and metrics."""

from .batch_sample import BatchSample, batch_key, batch_target, batch_views
from .views import ViewKey, draw, seeded, view_key, view_keys

__all__ = [
    'BatchSample',
    'ViewKey',
    'batch_key',
    'batch_target',
    'batch_views',
    'draw',
    'seeded',
    'view_key',
    'view_keys',
]
