"""The student's data preprocessor, with the batch augmentations of its config."""

from typing import Any

import torch
from mmengine.logging import print_log
from torch import nn

from aekt_mm.registry import MODELS, build

from ..classifiers import num_classes

#: Preprocessors that can mix a batch.
MIXING = 'ClsDataPreprocessor, ViewPreprocessor or BatchPreprocessor'


def student_inputs(
    student: nn.Module, own: dict | nn.Module | None, given: dict | nn.Module | None
) -> nn.Module | None:
    """Return the preprocessor of a distiller.

    An mmpretrain student has batch augmentations (``train_cfg.augments``) in a preprocessor of its
    own. Where another stands in its place, as MMEngine's Runner puts the config's top-level
    ``data_preprocessor``, they are carried over, with the student's number of classes. One that
    names ``batch_augments`` itself, None included, keeps what it names, and a warning says so.

    Args:
        student: Built.
        own: The preprocessor that it came with.
        given: The distiller's, which stands in its place.

    Returns:
        The preprocessor; None where there is none.

    Raises:
        ValueError: If the student's augmentations have no place in it, or it counts other classes.
    """
    inner: Any = getattr(student, 'data_preprocessor', None)
    mixing = getattr(inner, 'batch_augments', None)
    if getattr(inner, 'num_classes', 0) is None:  # which mmpretrain's ClassNumCheckHook compares
        inner.num_classes = num_classes(student)
    if isinstance(given, nn.Module) or (given is None and isinstance(own, nn.Module)):
        built: Any = own if given is None else given
        if mixing is not None and getattr(built, 'batch_augments', None) is None:
            raise ValueError(
                'the student mixes batches (train_cfg.augments), but data_preprocessor does not: '
                f"set its batch_augments, or the student's train_cfg to None{_can_mix(built)}"
            )
        return built
    if given is None and own is None and mixing is None:
        return None

    options: Any = (own if given is None else given) or {}
    config = {'type': 'ClsDataPreprocessor', **options}
    named = given is not None and 'batch_augments' in given
    if given is not None and own is not None:
        _say_which_normalisation(inner, config)
    if mixing is not None and not named:
        config.pop('batch_augments', None)  # the student's building has changed its own
        plain = build(MODELS, config)
        if not hasattr(plain, 'batch_augments'):
            raise ValueError(
                'the student mixes batches (train_cfg.augments), but data_preprocessor is '
                f"{type(plain).__name__}, which can't: take {MIXING}, or set the student's "
                'train_cfg to None'
            )
        config['batch_augments'] = _config(mixing)
    elif mixing is not None:
        _say_which_augments(config['batch_augments'])
    if config.get('batch_augments') is not None:
        classes = num_classes(student)
        if config.setdefault('num_classes', classes) not in (classes, None):
            raise ValueError(
                f'data_preprocessor.num_classes is {config["num_classes"]}, but the student has '
                f'{classes} classes: batches can only be mixed if they agree'
            )
        config['num_classes'] = config['num_classes'] or classes
    return build(MODELS, config)


def _can_mix(built: nn.Module) -> str:
    return '' if hasattr(built, 'batch_augments') else f', and take {MIXING}'


def _config(mixing: Any) -> dict:
    """Return what mmpretrain's ``RandomBatchAugment`` was made of."""
    augments = [augment for augment in mixing.augments if augment is not None]
    probs = None if mixing.probs is None else list(mixing.probs[: len(augments)])
    return dict(augments=augments, probs=probs)


def _say_which_augments(given: dict | None) -> None:
    print_log(
        "The student's own batch augmentations (train_cfg.augments) are not used: "
        f'data_preprocessor.batch_augments is {given}',
        'current',
        level=30,
    )


def _say_which_normalisation(inner: Any, config: dict) -> None:
    """Say that a student's images are normalised otherwise than its own config has it."""
    for name in ('mean', 'std'):
        theirs, ours = getattr(inner, name, None), config.get(name)
        if theirs is None or ours is None:
            continue
        ours = torch.as_tensor(ours, dtype=theirs.dtype).flatten()
        if not ours.equal(theirs.flatten().cpu()):
            print_log(
                f"The student's own data_preprocessor ({name} {theirs.flatten().tolist()}) is not "
                f"used: the run's stands in its place ({name} {ours.tolist()})",
                'current',
                level=30,
            )
            return
