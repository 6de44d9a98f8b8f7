"""Weights from a checkpoint of any layout: all of them, or an error."""

import difflib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.runner.checkpoint import get_torchvision_models
from torch import Tensor, nn

from .checkpoints import load_restricted

#: Where the field's frameworks keep the weights (MMEngine; mdistiller and RepDistiller; others).
STATE_KEYS = ('state_dict', 'model', 'model_state_dict')

#: Parts of a distiller that its losses learn with.
TRAINING_PARTS = ('losses', 'features')

#: Tables that a network (EVA02) computes anew for images of another size than its config's.
COMPUTED = ('rope.freqs_cos', 'rope.freqs_sin')

#: What the peers call the last linear layer, longer names first.
CLASSIFIERS = ('fc.', '_fc.', 'linear.', 'classifier.0.', 'classifier.')


def _backbone_and_head(key: str) -> str:
    """Map the flat names of torchvision, RepDistiller and mdistiller to an ImageClassifier's."""
    for classifier in CLASSIFIERS:
        if key.startswith(classifier):
            return 'head.fc.' + key.removeprefix(classifier)
    return 'backbone.' + key.replace('.shortcut.', '.downsample.')


def _unwrapped(key: str) -> str:
    return key.removeprefix('module.')


#: What a checkpoint's parameter names may have to go through to become the network's.
LAYOUTS: tuple[Callable[[str], str], ...] = (
    lambda key: key,
    _unwrapped,
    _backbone_and_head,
    lambda key: _backbone_and_head(_unwrapped(key)),
)


def load_weights(model: nn.Module, source: str) -> tuple[str, ...] | None:
    """Load all weights of a network from a checkpoint, never running code from it.

    The layouts of MMEngine and mmpretrain, torchvision, and mdistiller and RepDistiller are
    recognised. The network is untouched unless everything fits. A distiller without a teacher only
    predicts: what its losses learned to compare features with is left out.

    Args:
        model: The network, changed in place.
        source: A path, an http(s) URL, or ``torchvision://NAME`` (``torchvision://resnet34``).

    Returns:
        The names of the classes that the network was trained on, where the checkpoint has them, as
        those of MMEngine do.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it can't be read, has NaN or infinite weights, or does not fit; the message
            then says what is missing, left over or different.
    """
    checkpoint = load_restricted(_resolve(source))
    state = find_weights(checkpoint, source)
    wanted = model.state_dict()
    if _distilled(state) and not _distilled(wanted):
        raise ValueError(
            f'{source} is the checkpoint of a distillation run, with a student and perhaps a '
            'connector in it: tools/publish_student.py makes a classifier of it'
        )
    if _distilled(wanted):
        unused = [part for part in TRAINING_PARTS if getattr(model, part, None) is None]
        state = {k: v for k, v in state.items() if k.split('.')[0] not in unused}
    candidates = [{rename(k): v for k, v in state.items()} for rename in LAYOUTS]
    fitting = min(candidates, key=lambda found: _distance(wanted, found))
    differences = misfits(wanted, fitting)
    if differences:
        raise ValueError(
            f'{source} does not fit {type(model).__name__}; nothing was loaded:\n  '
            + '\n  '.join(differences)
        )
    check_finite(fitting, source)
    _fill(model, fitting, source)
    return _class_names(checkpoint)


def _class_names(checkpoint: dict) -> tuple[str, ...] | None:
    meta = checkpoint.get('meta')
    meta = meta if isinstance(meta, dict) else {}
    data = meta.get('dataset_meta')
    names = (data if isinstance(data, dict) else {}).get('classes', meta.get('CLASSES'))
    return tuple(map(str, names)) if isinstance(names, list | tuple) else None


def load_own_weights(model: nn.Module, state: dict[str, Tensor], source: str | Path) -> None:
    """Load weights that must be those of a network by name and shape.

    Args:
        model: The network, changed in place; untouched unless everything fits.
        state: The weights by name.
        source: Where they come from.

    Raises:
        ValueError: If they are not the network's, not finite, or not what the network then holds.
    """
    check_own_weights(model, state, source)
    _fill(model, state, source)


def check_own_weights(model: nn.Module, state: dict[str, Tensor], source: str | Path) -> None:
    """Check that weights are those of a network by name and shape, and finite.

    Raises:
        ValueError: If they are not.
    """
    differences = misfits(model.state_dict(), state)
    if differences:
        raise ValueError(
            f"{source} is not a checkpoint of this recipe's {type(model).__name__}:\n  "
            + '\n  '.join(differences)
        )
    check_finite(state, source)


def check_held(held: dict[str, Tensor], state: dict[str, Tensor], source: str | Path) -> None:
    """Check that a network holds what was read.

    A part of a network may change names or values while it is loaded, and nobody is told where
    that goes wrong.

    Args:
        held: The network's weights by name.
        state: Those that were read, finite.
        source: Where they come from.

    Raises:
        ValueError: If one of them is not held; the message names it.
    """
    lost = [name for name, value in state.items() if not _same(held[name], value)]
    if lost:
        raise ValueError(
            f'{source} was not loaded: {len(lost)} of {len(state)} weights are not those that were '
            f'read, the first of them {lost[0]}. A part of the network changes what it loads '
            '(_load_from_state_dict or a hook of it)'
        )


def _same(held: Tensor, read: Tensor) -> bool:
    # a network may compute a table anew, which another machine rounds differently
    read = read.to(held.device, held.dtype)
    return held.equal(read) or (held.is_floating_point() and bool(torch.allclose(held, read)))


def _fill(model: nn.Module, state: dict[str, Tensor], source: str | Path) -> None:
    """Load weights that fit, and see that the network then holds them."""
    wanted = model.state_dict()
    fitting = OrderedDict((k, v) for k, v in state.items() if v.shape == wanted[k].shape)
    # what fits is of the present layout; some networks of torchvision ask for its version
    versioned: Any = fitting
    versioned._metadata = {name: {'version': m._version} for name, m in model.named_modules()}
    # names were compared, all but those of batch counters; what came of it is below
    model.load_state_dict(fitting, strict=False)
    check_held(model.state_dict(), fitting, source)


def find_weights(checkpoint: dict, source: str | Path) -> dict[str, Tensor]:
    """Return the weights in a checkpoint, wherever it keeps them.

    Under a key that a framework of the field uses, or else the only part that has any.

    Args:
        checkpoint: What was saved.
        source: Where it comes from.

    Raises:
        ValueError: If there are none, or several parts have some; the message names the keys.
    """
    counts = {key: _tensors(part) for key, part in checkpoint.items() if isinstance(part, dict)}
    parts = [key for key, count in counts.items() if count]
    weights = {name: part for name, part in checkpoint.items() if isinstance(part, Tensor)}
    key = next((key for key in STATE_KEYS if key in parts), None)
    if key is None and len(parts) == 1 and counts[parts[0]] > len(weights):
        [key] = parts
    if key is not None:
        return find_weights(checkpoint[key], source)
    if len(weights) > max(counts.values(), default=0):
        return weights
    found = f'weights under {" and ".join(map(repr, parts))}' if parts else list(checkpoint)
    raise ValueError(
        f'{source} has no weights under {", ".join(map(repr, STATE_KEYS))} or a single other key, '
        f'but {found}: save the one state_dict that is meant'
    )


def _tensors(part: dict) -> int:
    """Count the weights of a part of a checkpoint: a state_dict, or a dict that has one."""
    below = (_tensors(part[key]) for key in STATE_KEYS if isinstance(part.get(key), dict))
    return sum(isinstance(k, str) and isinstance(v, Tensor) for k, v in part.items()) + sum(below)


def _resolve(source: str) -> str:
    scheme, _, name = source.partition('://')
    if scheme != 'torchvision':
        return source
    urls = get_torchvision_models()
    if name.lower() not in urls:
        close = difflib.get_close_matches(name.lower(), urls, n=3)
        hint = f'did you mean {" or ".join(close)}?' if close else f'it has {sorted(urls)}'
        raise ValueError(f'torchvision has no weights {name!r}: {hint}')
    return urls[name.lower()]


def _distilled(state: dict[str, Tensor]) -> bool:
    return any(name.startswith('student.') for name in state)


def _distance(wanted: dict[str, Tensor], found: dict[str, Tensor]) -> int:
    """Count the names and shapes that two networks' weights do not share."""
    shapes = [{(k, v.shape) for k, v in state.items()} for state in (wanted, found)]
    return len(shapes[0] ^ shapes[1])


def check_finite(state: dict[str, Tensor], source: str | Path) -> None:
    """Check that weights are finite.

    Raises:
        ValueError: If one is NaN or infinite; the message names it.
    """
    for name, value in state.items():
        if not value.isfinite().all():
            count = int((~value.isfinite()).sum())
            raise ValueError(
                f'{source} can not be used: {count} of {value.numel()} numbers of {name} are NaN '
                'or infinite. The run that wrote it diverged, or the file was damaged before'
            )


def misfits(wanted: dict[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    """Describe how the weights found differ from those wanted: at most three lines, one a kind."""
    kinds = {
        'different': [
            f'{name} is {tuple(found[name].shape)}, wanted {tuple(wanted[name].shape)}'
            for name in wanted
            if name in found and found[name].shape != wanted[name].shape
            if not name.endswith(COMPUTED)
        ],
        'missing': [
            name
            for name in wanted
            # checkpoints older than this counter have none, and inference does not read it
            if name not in found and not name.endswith('num_batches_tracked')
        ],
        'left over': [name for name in found if name not in wanted],
    }
    return [
        f'{kind}: {names[0]}' + (f', and {len(names) - 1} more' if len(names) > 1 else '')
        for kind, names in kinds.items()
        if names
    ]
