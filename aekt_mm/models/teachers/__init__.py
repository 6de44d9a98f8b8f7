"""Teachers: whatever yields logits for a batch."""

from .cached_teacher import CachedTeacher
from .freezing import take_in
from .identity import data_identity, teacher_identity
from .logit_cache import LogitCache
from .online_teacher import OnlineTeacher

__all__ = [
    'CachedTeacher',
    'LogitCache',
    'OnlineTeacher',
    'data_identity',
    'take_in',
    'teacher_identity',
]
