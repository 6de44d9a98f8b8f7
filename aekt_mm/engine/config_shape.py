"""The shape of a config: which parts are dicts, which are lists, which need a type."""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

#: What must be a dict where it is set, and say its type.
TYPED = (
    '*_dataloader.dataset',
    '*_dataloader.sampler',
    '*_evaluator.[0-9]*',
    'custom_hooks.[0-9]*',
    'default_hooks.*',
    'optim_wrapper.optimizer',
    'param_scheduler.[0-9]*',
    'visualizer',
    'visualizer.vis_backends.[0-9]*',
    'model.teacher',
)
#: What must be a dict where it is set.
DICTS = (
    'auto_scale_lr',
    'data_preprocessor',
    'default_hooks',
    'env_cfg',
    'env_cfg.*_cfg',
    'log_processor',
    'optim_wrapper.clip_grad',
    'optim_wrapper.paramwise_cfg',
    'optim_wrapper.paramwise_cfg.custom_keys',
    'optim_wrapper.paramwise_cfg.custom_keys.*',
    'randomness',
)
#: What must be a list where it is set.
LISTS = ('custom_hooks', 'visualizer.vis_backends')

#: What a config may have in place of what is built of it, without being the right thing.
_PLAIN = (bool, bytes, dict, float, int, list, str, tuple)


def is_plain(value: Any) -> bool:
    """Return whether a value is one that a config's text can have, not something that is built."""
    return isinstance(value, _PLAIN)


def matches(place: str, pattern: str) -> bool:
    """Return whether a dotted name matches a pattern."""
    return fnmatchcase(place, pattern) and (
        pattern.startswith('*.') or place.count('.') == pattern.count('.')
    )


def misshapen(part: Any, place: str = '') -> Iterator[str]:
    """Yield the parts of a config that should be a dict or a list, or have no type.

    Args:
        part: The config, or what it has at a place.
        place: By its dotted name.
    """
    typed = any(matches(place, pattern) for pattern in TYPED)
    if is_plain(part):
        if not isinstance(part, dict) and (typed or _in(place, DICTS)):
            hint = ", as in dict(type='...')" if typed else ''
            yield f'{place} must be a dict{hint}, but is {part!r}'
            return
        if not isinstance(part, list | tuple) and _in(place, LISTS):
            yield f'{place} must be a list, as in [dict(...)], but is {part!r}'
            return
    if isinstance(part, dict):
        # several metrics, or several optimizers with schedules of their own, need no type
        single = not any(isinstance(each, list | tuple | dict) for each in part.values())
        untyped = part and 'type' not in part
        if untyped and (typed or (single and _in(place, ('*_evaluator', 'param_scheduler')))):
            yield f"{place} has no type: it must say what it is, as in dict(type='...')"
    if place.count('.') < 3:
        items: Iterable[tuple[Any, Any]] = part.items() if isinstance(part, dict) else ()
        items = enumerate(part) if isinstance(part, list | tuple) else items
        for name, within in items:
            yield from misshapen(within, f'{place}.{name}' if place else str(name))


def _in(place: str, patterns: tuple[str, ...]) -> bool:
    return any(matches(place, pattern) for pattern in patterns)
