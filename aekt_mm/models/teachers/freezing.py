"""Freezing the networks that a teacher holds, by whatever name."""

import functools
import inspect
from collections.abc import Iterator
from types import CellType
from typing import Any

from torch import nn

#: How deep networks are looked for in what a callable holds.
DEPTH = 4


def freeze(teacher: Any, student: nn.Module) -> list[nn.Module]:
    """Put the networks that a teacher holds into evaluation mode, and let them want no gradient.

    They are looked for as attributes, in lists and dicts, in a function's closure and as its global
    names.

    Args:
        teacher: A module or any other callable.
        student: What stays as it is, also where the teacher holds it.

    Returns:
        The networks, the student's aside.
    """
    learning = set(student.modules())
    networks = [
        network
        for network in _networks(teacher, DEPTH, set())
        if learning.isdisjoint(network.modules())
    ]
    for network in networks:
        network.requires_grad_(False)
        network.eval()
    return networks


def _networks(thing: Any, depth: int, seen: set[int]) -> Iterator[nn.Module]:
    if isinstance(thing, nn.Module):
        yield thing
        return
    if depth == 0 or id(thing) in seen:
        return
    seen.add(id(thing))
    for part in parts(thing):
        yield from _networks(part, depth - 1, seen)


def parts(thing: Any, named: bool = True) -> list[Any]:
    """Return what a thing holds.

    Args:
        thing: A function, a method, a container or any object.
        named: Whether what a function finds by a global name counts.
    """
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if inspect.ismethod(thing):
        return [thing.__self__, thing.__func__]
    if inspect.isfunction(thing):
        cells = [cell for cell in thing.__closure__ or () if cell != CellType()]
        by_name = thing.__code__.co_names if named else ()
        found = [thing.__globals__.get(name) for name in by_name]
        keyword = (thing.__kwdefaults__ or {}).values()
        return [
            *(cell.cell_contents for cell in cells),
            *(thing.__defaults__ or ()),
            *keyword,
            *found,
        ]
    if isinstance(thing, dict):
        return list(thing.values())
    if isinstance(thing, list | tuple):
        return list(thing)
    if inspect.ismodule(thing) or inspect.isclass(thing):
        return []
    call = type(thing).__call__ if callable(thing) else None
    return [*getattr(thing, '__dict__', {}).values(), *([call] if inspect.isfunction(call) else [])]
