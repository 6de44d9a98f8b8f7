"""Teachers: whatever yields logits for a batch."""

from .cached_teacher import CachedTeacher
from .identity import data_identity
from .input_adapter import InputAdapter
from .logit_cache import LogitCache
from .online_teacher import OnlineTeacher
from .teacher import Teacher
from .wrapping import CallableTeacher, take_in, teacher_identity

__all__ = [
    'CachedTeacher',
    'CallableTeacher',
    'InputAdapter',
    'LogitCache',
    'OnlineTeacher',
    'Teacher',
    'data_identity',
    'take_in',
    'teacher_identity',
]
