"""What a teacher's logits are of: the teacher, the data, the augmentation, the seed."""

import hashlib
import inspect
import os
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..classifiers import read_classifier, trained_order


def teacher_identity(online: dict) -> dict:
    """Describe a teacher by its config, its weights and what it takes images for.

    Args:
        online: Config of an :class:`OnlineTeacher`.
    """
    identity = {name: _plain(online.get(name)) for name in ('type', 'model', 'data_preprocessor')}
    model = online.get('model')
    if isinstance(model, str | Path):
        model = read_classifier(model)  # what the file says, wherever it is
        identity['model'] = _plain(model)
    if online.get('classes') is not None:
        identity['classes'] = _plain(online['classes'])
    order = online.get('channel_order') or trained_order(online.get('model'))
    own = online.get('data_preprocessor') or (
        isinstance(model, dict) and model.get('data_preprocessor')
    )
    identity['channel_order'] = order if own or order == 'BGR' else None
    checkpoint = online.get('checkpoint')
    path = Path(str(checkpoint)).expanduser()
    if checkpoint is not None and path.is_file():
        checkpoint = 'blake2b ' + hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    return {**identity, 'checkpoint': checkpoint}


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
            'transforms': _plain(getattr(dataset, 'pipeline', getattr(inner, 'pipeline', None))),
            'preprocessor': _plain(preprocessor),
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


def _plain(value: Any) -> Any:
    """Return an object's settings as JSON would hold them, the same in every process."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    kind = value if isinstance(value, type) or inspect.isroutine(value) else type(value)
    name = f'{kind.__module__}.{kind.__qualname__}'
    if kind is value or not hasattr(value, '__dict__'):
        return name if ' at 0x' in repr(value) else repr(value)
    settings = {key: part for key, part in vars(value).items() if key[0] != '_'}
    if isinstance(value, nn.Module):
        settings.pop('training')
        settings |= {**dict(value.named_buffers(recurse=False)), **dict(value.named_children())}
    return {'type': name, **_plain(settings)}
