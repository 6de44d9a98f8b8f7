"""Teachers: whatever yields logits for a batch."""

from .online_teacher import OnlineTeacher

__all__ = ['OnlineTeacher']
