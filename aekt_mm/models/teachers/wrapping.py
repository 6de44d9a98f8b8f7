"""Taking in a teacher that is a config, or no :class:`Teacher` yet."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from mmpretrain.models.classifiers import BaseClassifier
from torch import Tensor, nn

from aekt_mm.registry import MODELS, build

from ..classifiers import num_classes
from .freezing import freeze
from .identity import type_name, weights_digest, with_defaults
from .online_teacher import OnlineTeacher
from .teacher import Teacher, described, outermost_teachers


class CallableTeacher(Teacher):
    """Any callable from (inputs, data_samples) to logits (N, C).

    The networks that it holds are frozen, and teachers among them are attached and prepared with
    it.

    Args:
        call: The callable; a module goes to the student's device with it.
        student: What stays as it is, also where the callable holds it.
        config: What the callable was built from, if it was.
    """

    def __init__(self, call: Callable, student: nn.Module, config: dict | None = None) -> None:
        super().__init__()
        self.training = False
        self.call = call
        self.config = config
        self.networks = freeze(call, student)  # in a list: they are the callable's
        self.num_classes = num_classes(call)

    @functools.cached_property
    def _members(self) -> list[Teacher]:
        held = [self.call] if isinstance(self.call, nn.Module) else self.networks
        return list(dict.fromkeys(outermost_teachers(held)))

    def forward(self, inputs: Tensor, data_samples: Sequence[Any] | None = None) -> Tensor:
        """Return what the callable does."""
        return self.call(inputs, data_samples)

    def identity(self) -> dict:
        """Return the config with defaults where there is one, else what the callable holds."""
        call = self.call
        if self.config is None:
            identity = described(call)
        else:
            kind, options = _kind(self.config), _options(self.config)
            identity = {
                'type': type_name(kind),
                'options': described(with_defaults(kind, [], options)),
            }
        return {
            **identity,
            'weights': [weights_digest(network, apart=Teacher) for network in self.networks],
            'teachers': [teacher.identity() for teacher in self._members],
        }

    def tap(self, paths: Sequence[str]) -> Any:
        """Refuse, by the callable's name."""
        raise ValueError(
            f'the teacher {type(self.call).__name__} has no features, but {paths[0]!r} is asked '
            'for: derive it from aekt_mm.models.teachers.Teacher, with a method tap(paths) as '
            'OnlineTeacher has it'
        )


def take_in(teacher: dict | Callable | None, student: nn.Module) -> Teacher | None:
    """Return a teacher that never trains.

    Args:
        teacher: A config; a :class:`Teacher`, which is returned; a network that maps images alone
            to logits, or a classifier of mmpretrain with the normalisation that it comes with,
            which become an :class:`OnlineTeacher`; or any other callable from (inputs,
            data_samples).
        student: What stays as it is, also where the teacher holds it.

    Examples:
        >>> network = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(12, 5))
        >>> teacher = take_in(lambda inputs, data_samples: network(inputs), nn.Identity())
        >>> network.training
        False
    """
    config = teacher if isinstance(teacher, dict) else None
    if config is not None:
        teacher = build(MODELS, config)
    if teacher is None:
        return None
    if isinstance(teacher, Teacher):
        freeze(teacher, student)
        return teacher
    if isinstance(teacher, BaseClassifier) or _takes_images_alone(teacher):
        return OnlineTeacher(teacher, checkpoint=None)
    return CallableTeacher(teacher, student, config)


def teacher_identity(config: dict) -> dict:
    """Return the identity of the teacher that a config describes, see :meth:`Teacher.identity`.

    That of an :class:`OnlineTeacher` is read off its config; others are built and asked.

    Args:
        config: Of a teacher; of an :class:`OnlineTeacher` where it has no ``type``.
    """
    kind = _kind(config)
    if isinstance(kind, type) and issubclass(kind, Teacher):
        return kind.identity_of(config)
    return take_in(config, nn.Identity()).identity()


def describes_a(kind: type[Teacher], config: dict | None) -> bool:
    """Return whether a config describes a teacher of a kind, by whatever name."""
    found = None if config is None else _kind(config)
    return isinstance(found, type) and issubclass(found, kind)


def _kind(config: dict) -> Callable | None:
    kind = config.get('type', OnlineTeacher)
    return MODELS.get(kind) if isinstance(kind, str) else kind


def _options(config: dict) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in ('type', '_scope_')}


def _takes_images_alone(teacher: Callable) -> bool:
    if not isinstance(teacher, nn.Module):
        return False
    try:
        inspect.signature(teacher.forward).bind(None, None)
    except TypeError:
        return True
    return False
