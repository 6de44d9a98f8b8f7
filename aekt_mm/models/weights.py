"""A network's weights from a checkpoint of whatever layout, all of them or an error."""

import difflib
from collections.abc import Callable
from pathlib import Path

from mmengine.runner.checkpoint import get_torchvision_models
from torch import Tensor, nn

from .checkpoints import load_restricted

#: Where the field's frameworks keep the weights (MMEngine; mdistiller and RepDistiller; others).
STATE_KEYS = ('state_dict', 'model', 'model_state_dict')

#: Parts of a distiller that its losses learn with.
TRAINING_PARTS = ('losses', 'features')

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
    state = next((checkpoint[k] for k in STATE_KEYS if isinstance(checkpoint.get(k), dict)), None)
    state = {k: v for k, v in (state or checkpoint).items() if isinstance(v, Tensor)}
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
    model.load_state_dict(fitting, strict=False)  # all but the batch counters was checked above
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
        ValueError: If they are not the network's, or not finite.
    """
    differences = misfits(model.state_dict(), state)
    if differences:
        raise ValueError(
            f"{source} is not a checkpoint of this recipe's {type(model).__name__}:\n  "
            + '\n  '.join(differences)
        )
    check_finite(state, source)
    model.load_state_dict(state, strict=False)  # all but the batch counters was checked above


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
    """Check that weights are numbers: a network with others predicts anything.

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
    """Say what keeps the weights found from being those wanted: a line a kind, at most three."""
    kinds = {
        'different': [
            f'{name} is {tuple(found[name].shape)}, wanted {tuple(wanted[name].shape)}'
            for name in wanted
            if name in found and found[name].shape != wanted[name].shape
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
