"""Data structures shared by datasets, models and metrics."""

from .batch_sample import (
    BatchSample,
    batch_indices,
    batch_key,
    batch_labels,
    batch_target,
    batch_views,
    require_views,
)
from .channel_order import SWAPPED, config_order, data_order, input_order, pipeline_order
from .class_names import numbered_otherwise
from .views import (
    ViewKey,
    draw,
    kept_generators,
    one_view,
    seed_generators,
    seeded,
    view_key,
    view_keys,
)

__all__ = [
    'SWAPPED',
    'BatchSample',
    'ViewKey',
    'batch_indices',
    'batch_key',
    'batch_labels',
    'batch_target',
    'batch_views',
    'config_order',
    'data_order',
    'draw',
    'input_order',
    'kept_generators',
    'numbered_otherwise',
    'one_view',
    'pipeline_order',
    'require_views',
    'seed_generators',
    'seeded',
    'view_key',
    'view_keys',
]
