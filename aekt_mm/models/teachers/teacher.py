"""What a teacher is: whatever yields logits for a batch."""

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.utils.data import DataLoader

from aekt_mm.registry import MODELS, build

from ..taps import FeatureTaps
from .freezing import DEPTH, parts
from .identity import content_of, digest_of, plain, type_name, weights_digest, with_defaults


class Teacher(nn.Module):
    """Base class of teachers: logits of a batch, and all that a run asks of who gives them.

    A class of your own sets ``num_classes`` and writes ``forward``. The rest has defaults, which
    also hold for a teacher that is made of others: those among its submodules are attached and
    prepared with it, and its identity has theirs.

    A teacher never trains. It stays in evaluation mode whatever its owner does, the distiller
    freezes its parameters, and a copy of it is itself, so that copies of a distiller (a moving
    average, say) share it.

    Attributes:
        num_classes: How many classes it tells apart; None where that is not known.

    Examples:
        >>> import torch
        >>> class Uniform(Teacher):
        ...     num_classes = 5
        ...
        ...     def forward(self, inputs, data_samples=None):
        ...         return inputs.new_zeros(len(inputs), 5)
        >>> Uniform()(torch.rand(4, 3, 2, 2)).shape
        torch.Size([4, 5])
    """

    num_classes: int | None = None

    def __new__(cls, *args: Any, **options: Any) -> 'Teacher':
        """Keep the options, which the identity is made of."""
        teacher = super().__new__(cls)
        teacher.__dict__['_options'] = with_defaults(cls, args, options)
        return teacher

    def forward(self, inputs: Tensor, data_samples: Sequence[Any] | None = None) -> Tensor:
        """Return the logits of a batch.

        Args:
            inputs: Images as the student sees them, (N, 3, H, W), floating point.
            data_samples: N samples.

        Returns:
            Logits (N, C).
        """
        raise NotImplementedError

    def identity(self) -> dict:
        """Return all that the logits depend on, as JSON can hold it.

        Kept logits are used again where this is equal. By default: the class, its options, where a
        name of a file stands for its content, its weights, and the teachers that it is made of.
        What else your logits depend on, a table in a file of a fixed name say, you add.
        """
        return {
            'type': type_name(type(self)),
            'options': described(self._options),
            'weights': weights_digest(self, apart=Teacher),
            'teachers': [teacher.identity() for teacher in self._members],
        }

    @classmethod
    def identity_of(cls, config: dict) -> dict:
        """Return the identity of the teacher that a config describes.

        By default the teacher is built and asked.

        Args:
            config: With this class as its ``type``.
        """
        return build(MODELS, config).identity()

    def attach(
        self, loader: DataLoader | None, preprocessor: Any, epochs: int | None = None
    ) -> None:
        """Get to know the student's images. By default the teachers that this one is made of do.

        The distiller calls it when it is built, with its preprocessor alone, and
        :class:`~aekt_mm.engine.hooks.DistillCheckHook` before training, with the data.

        Args:
            loader: Of the data; None where they are not known yet.
            preprocessor: The student's.
            epochs: How many the run has; None where that is not known.
        """
        for teacher in self._members:
            teacher.attach(loader, preprocessor, epochs)

    @property
    def unsure(self) -> bool:
        """Whether it has to see the data before a run can learn from it.

        By default: if one of the teachers that it is made of has to.
        """
        return any(teacher.unsure for teacher in self._members)

    def prepare(self, data_samples: Sequence[Any]) -> None:
        """Do for a batch what a step that runs as a CUDA graph can't, such as to read a file.

        By default the teachers that this one is made of do.

        Args:
            data_samples: As of a call.
        """
        for teacher in self._members:
            teacher.prepare(data_samples)

    def tap(self, paths: Sequence[str]) -> FeatureTaps:
        """Let modules be seen, for losses on features. By default there are none.

        Args:
            paths: Of modules.

        Raises:
            ValueError: If there are no such modules.
        """
        raise ValueError(
            f'the teacher {type(self).__name__} has no features, but {paths[0]!r} is asked for: '
            'use an OnlineTeacher, or a loss on logits'
        )

    @functools.cached_property
    def _members(self) -> list['Teacher']:
        return list(outermost_teachers(self.children()))

    def train(self, mode: bool = True) -> 'Teacher':
        """Stay in evaluation mode."""
        return super().train(False)

    def __deepcopy__(self, memo: dict) -> 'Teacher':
        return self


def outermost_teachers(modules: Iterable[nn.Module]) -> Iterator[Teacher]:
    """Yield the teachers among modules and what they are made of, without those in teachers."""
    for module in modules:
        if isinstance(module, Teacher):
            yield module
        else:
            yield from outermost_teachers(module.children())


def described(value: Any, depth: int = DEPTH) -> Any:
    """Return what a teacher's logits depend on in a value that it was given, as JSON can hold it.

    A name of a file stands for its content, a network for its settings and weights, a function for
    its code and what it holds.

    Args:
        value: An option, or what an option holds.
        depth: How deep to look into objects.
    """
    if isinstance(value, str | Path):
        return content_of(str(value))
    if isinstance(value, dict):
        return {str(key): described(part, depth) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [described(part, depth) for part in value]
    if isinstance(value, Teacher):
        return value.identity()
    if isinstance(value, Tensor | np.ndarray):
        return digest_of([('', value)])
    if isinstance(value, type) or inspect.isbuiltin(value) or not hasattr(value, '__dict__'):
        return plain(value)
    if inspect.ismodule(value):
        return value.__name__
    if depth == 0:
        return type_name(type(value))
    if inspect.isfunction(value) or inspect.ismethod(value):
        return _function(value, depth - 1)
    if isinstance(value, functools.partial):
        held = [described(part, depth - 1) for part in parts(value)]
        return {'type': 'functools.partial', 'holds': held}
    return _object(value, depth - 1)


def _function(function: Callable, depth: int) -> dict:
    """Describe a function: its code, what it holds, and the numbers that it finds by name."""
    code = function.__code__
    found = {name: function.__globals__.get(name) for name in code.co_names}
    return {
        'type': type_name(function),
        'code': digest_of([('', _code(code))]),
        'holds': [described(part, depth) for part in parts(function, named=False)],
        'named': {k: v for k, v in found.items() if isinstance(v, bool | int | float | str)},
    }


def _object(value: Any, depth: int) -> dict:
    """Describe an object by its attributes, a network also by its modules and weights."""
    name = type_name(type(value))
    if not isinstance(value, nn.Module):
        return {'type': name, 'settings': described(vars(value), depth)}
    settings = {
        f'{path}.{key}': part
        for path, module in value.named_modules()
        for key, part in vars(module).items()
        if key[0] != '_' and key != 'training'
    }
    return {
        'type': name,
        'network': digest_of([('', str(value))]),
        'settings': described(settings, depth),
        'weights': weights_digest(value, apart=Teacher),
    }


def _code(code: CodeType) -> str:
    """Return a function's code as text, without the places of objects in memory and of files."""
    constants = [
        _code(constant)
        if isinstance(constant, CodeType)
        else repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)
        for constant in code.co_consts
    ]
    return repr((code.co_code, code.co_names, constants))
