"""Taking in a teacher that is not one of ours."""

import functools
import inspect
from collections.abc import Callable, Iterator
from types import CellType
from typing import Any

from mmpretrain.models.classifiers import BaseClassifier
from torch import nn

from .cached_teacher import CachedTeacher
from .online_teacher import OnlineTeacher

#: How deep networks are looked for in what a callable holds.
DEPTH = 4


def take_in(teacher: Callable | None, student: nn.Module) -> Callable | None:
    """Return a teacher that never trains.

    A network that maps images alone to logits becomes an :class:`OnlineTeacher`, and so does a
    classifier of mmpretrain, with the normalisation that it comes with. Of any other callable from
    (inputs, data_samples) the networks that it holds, as attributes, in lists and dicts, in a
    function's closure or as its global names, are frozen: they go into evaluation mode, and their
    parameters want no gradient.

    Args:
        teacher: Ours, or a callable of the user's own.
        student: What stays as it is, also where the callable holds it.

    Examples:
        >>> network = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(12, 5))
        >>> teacher = take_in(lambda inputs, data_samples: network(inputs), nn.Identity())
        >>> network.training
        False
    """
    if teacher is None or isinstance(teacher, OnlineTeacher | CachedTeacher):
        return teacher
    if isinstance(teacher, BaseClassifier) or _takes_images_alone(teacher):
        return OnlineTeacher(teacher, checkpoint=None)
    learning = set(student.modules())
    for network in _networks(teacher, DEPTH, set()):
        if learning.isdisjoint(network.modules()):
            network.requires_grad_(False)
            network.eval()
    return teacher


def _takes_images_alone(teacher: Callable) -> bool:
    if not isinstance(teacher, nn.Module):
        return False
    try:
        inspect.signature(teacher.forward).bind(None, None)
    except TypeError:
        return True
    return False


def _networks(thing: Any, depth: int, seen: set[int]) -> Iterator[nn.Module]:
    if isinstance(thing, nn.Module):
        yield thing
        return
    if depth == 0 or id(thing) in seen:
        return
    seen.add(id(thing))
    for part in _parts(thing):
        yield from _networks(part, depth - 1, seen)


def _parts(thing: Any) -> list[Any]:
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if inspect.ismethod(thing):
        return [thing.__self__, thing.__func__]
    if inspect.isfunction(thing):
        cells = [cell for cell in thing.__closure__ or () if cell != CellType()]
        named = [thing.__globals__.get(name) for name in thing.__code__.co_names]
        return [*(cell.cell_contents for cell in cells), *(thing.__defaults__ or ()), *named]
    if isinstance(thing, dict):
        return list(thing.values())
    if isinstance(thing, list | tuple):
        return list(thing)
    if inspect.ismodule(thing) or inspect.isclass(thing):
        return []
    call = type(thing).__call__ if callable(thing) else None
    return [*getattr(thing, '__dict__', {}).values(), *([call] if inspect.isfunction(call) else [])]
