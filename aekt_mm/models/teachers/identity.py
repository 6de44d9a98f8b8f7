"""What a teacher's logits depend on: its options and weights, the data, augmentation, the seed."""

import hashlib
import inspect
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader


def data_identity(loader: DataLoader, preprocessor: Any) -> dict:
    """Describe the images that a model sees: dataset, seed of the views, augmentation.

    Args:
        loader: Of the training data, with a ``ViewSampler``.
        preprocessor: The model's, which may augment too.
    """
    dataset = loader.dataset
    inner = getattr(dataset, 'dataset', dataset)  # that a ViewDataset wraps
    return {
        'dataset': {'type': type(inner).__name__, 'content': _content(inner)},
        'samples': len(dataset),
        'seed': loader.sampler.view_seed,
        'pipeline': {
            'transforms': plain(getattr(dataset, 'pipeline', getattr(inner, 'pipeline', None))),
            'preprocessor': plain(preprocessor),
        },
    }


def differences(cached: dict, run: dict, prefix: str = '') -> list[str]:
    """Say where a run is not what was cached, a line each.

    Examples:
        >>> differences({'seed': 0, 'data': {'n': 5}}, {'seed': 1, 'data': {'n': 5}})
        ['seed: the cache has 0, the run has 1']
    """
    lines = []
    for name, value in run.items():
        known = cached.get(name)
        if isinstance(value, list) and isinstance(known, list) and len(value) == len(known):
            value, known = dict(enumerate(value)), dict(enumerate(known))
        if isinstance(value, dict) and isinstance(known, dict):
            lines += differences(known, {**dict.fromkeys(known), **value}, f'{prefix}{name}.')
        elif value != known:
            lines.append(f'{prefix}{name}: the cache has {known!r}, the run has {value!r}')
    return lines


def _content(dataset: Any) -> str:
    """Return a digest of a dataset's labels and of its images or their file names."""
    known = getattr(dataset, 'digest', None)
    if known is not None:  # a prepared set's: a million images need no look at each
        return known
    digest = hashlib.blake2b(digest_size=16)
    if hasattr(dataset, 'images'):
        digest.update(dataset.images.numpy())
        digest.update(dataset.labels.numpy())
    else:
        for index in range(len(dataset)):
            info = dataset.get_data_info(index)
            # of a million names; a Path for each would take as long as all the rest
            name = os.path.basename(info['img_path'])  # noqa: PTH119
            # a name need not be UTF-8
            digest.update(f'{name} {info["gt_label"]}\n'.encode(errors='surrogateescape'))
    return digest.hexdigest()


def with_defaults(kind: Callable, args: Sequence[Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call by name, with the defaults of those that are not given.

    Arguments that do not fit are left to the call, which says so.

    Examples:
        >>> with_defaults(lambda level, scale=1.0: None, [5], {})
        {'level': 5, 'scale': 1.0}
    """
    call, first = (kind.__init__, [None]) if isinstance(kind, type) else (kind, [])
    try:
        bound = inspect.signature(call).bind(*first, *args, **options)
    except (TypeError, ValueError):
        return dict(options)
    bound.apply_defaults()
    found = {}
    for name, parameter in list(bound.signature.parameters.items())[len(first) :]:
        value = bound.arguments[name]
        if parameter.kind is parameter.VAR_KEYWORD:
            found |= value
        elif parameter.kind is not parameter.VAR_POSITIONAL or value:
            found[name] = value
    return found


def type_name(kind: Any) -> str:
    """Return the full name of a class or function."""
    return f'{kind.__module__}.{kind.__qualname__}'


def content_of(name: str) -> str:
    """Return a digest of what a file holds, or the name where there is no such file."""
    path = os.path.expanduser(name)  # noqa: PTH111
    if not os.path.isfile(path):  # noqa: PTH113  (a text may be too long for a name)
        return name
    return f'blake2b {hashlib.blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()}'


def weights_digest(network: nn.Module, apart: type[nn.Module] | tuple = ()) -> str | None:
    """Return a digest of a network's parameters and of the buffers that checkpoints have.

    Args:
        network: On any device.
        apart: Modules of these classes are left out.

    Returns:
        None where there is neither.
    """
    tensors = list(_weights(network, apart))
    return digest_of(tensors) if tensors else None


def _weights(network: nn.Module, apart: Any, prefix: str = '') -> Iterator[tuple[str, Tensor]]:
    computed = getattr(network, '_non_persistent_buffers_set', ())
    for name, parameter in network.named_parameters(recurse=False):
        yield prefix + name, parameter
    for name, buffer in network.named_buffers(recurse=False):
        if name not in computed:
            yield prefix + name, buffer
    for name, child in network.named_children():
        if not isinstance(child, apart):
            yield from _weights(child, apart, f'{prefix}{name}.')


def digest_of(named: Iterable[tuple[str, Any]]) -> str:
    """Return a digest of tensors, arrays and texts with their names."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in named:
        if isinstance(value, str):
            digest.update(f'{name} {value}'.encode(errors='surrogateescape'))
            continue
        value = torch.as_tensor(value).detach().cpu()
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy())
    return f'blake2b {digest.hexdigest()}'


def short_digest(identity: Any) -> str:
    """Return eight letters that tell identities apart in names of files."""
    return digest_of([('', json.dumps(identity, sort_keys=True, default=str))])[-8:]


def plain(value: Any) -> Any:
    """Return an object's settings as JSON would hold them, the same in every process."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    kind = value if isinstance(value, type) or inspect.isroutine(value) else type(value)
    name = type_name(kind)
    if kind is value or not hasattr(value, '__dict__'):
        return name if ' at 0x' in repr(value) else repr(value)
    settings = {key: part for key, part in vars(value).items() if key[0] != '_'}
    if isinstance(value, nn.Module):
        settings.pop('training')
        settings |= {**dict(value.named_buffers(recurse=False)), **dict(value.named_children())}
    return {'type': name, **plain(settings)}
