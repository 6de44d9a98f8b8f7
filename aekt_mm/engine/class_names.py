"""The class numbers of a run's data sets, compared by class name.

A label is a number. What it stands for is known by name: of a folder a class, of the annotations,
of a prepared set, of a dataset's own code.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmpretrain.datasets.custom import CustomDataset, find_folders

from aekt_mm.datasets.prepared_images import read_manifest
from aekt_mm.registry import DATASETS, build
from aekt_mm.structures import numbered_otherwise

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


class ClassNames(NamedTuple):
    """What a data set calls its classes, in the order of their numbers.

    Attributes:
        place: Of the data set in the config.
        names: By which predictions are shown; None where they are not known.
        folders: Where the images of a class are; None where there is no folder a class.
    """

    place: str
    names: tuple[str, ...] | None
    folders: tuple[str, ...] | None


def check_classes(cfg: Config) -> None:
    """Check that all data sets of a config number their classes alike, where names are known.

    Nothing but lists of classes is read. What is not there is passed over.

    Args:
        cfg: Of a run.

    Raises:
        ValueError: Naming both data sets and the first number that stands for another class. Where
            they share no name, a warning says so instead.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
        known = [
            names
            for loader in LOADERS
            for names in of_config((cfg.get(loader) or {}).get('dataset'), f'{loader}.dataset')
        ]
    for other in known[1:]:
        compare(known[0], other)


def check_built_classes(datasets: dict[str, Any]) -> None:
    """Check the same of data sets that are built.

    Args:
        datasets: By what messages call them, the training's first.

    Raises:
        ValueError: As :func:`check_classes`.
    """
    known = [names for place, dataset in datasets.items() for names in _of_built(dataset, place)]
    for other in known[1:]:
        compare(known[0], other)


def check_checkpoint_classes(names: Sequence[str] | None, source: str, dataset: Any) -> None:
    """Check that a network was trained on classes that a data set numbers alike.

    Args:
        names: Of the classes that the network was trained on; None where they are not known.
        source: Of its weights.
        dataset: Built.

    Raises:
        ValueError: As :func:`check_classes`.
    """
    if names is not None:
        check_built_classes(
            {source: SimpleNamespace(metainfo=dict(classes=names)), 'the data set': dataset}
        )


def compare(training: ClassNames, other: ClassNames) -> None:
    """Check that a number stands for the same class in two data sets.

    The other may lack the last classes of the training's, which moves no number.

    Raises:
        ValueError: If a number stands for another class, or for one that is not trained on.
    """
    if training.folders is not None and other.folders is not None:
        ours, theirs = training.folders, other.folders
    else:
        ours = training.names or training.folders or ()
        theirs = other.names or other.folders or ()
    if theirs == ours[: len(theirs)]:
        return
    number = numbered_otherwise(theirs, ours)
    if number is None and len(theirs) <= len(ours):
        number = next(k for k, (a, b) in enumerate(zip(ours, theirs)) if a != b)
        print_log(
            f'{other.place} names its classes otherwise than {training.place}: {number} is '
            f'{ours[number]!r} in training, and {theirs[number]!r} there. Whether their numbers '
            'stand for the same can not be known',
            'current',
            level=30,
        )
        return
    number = len(ours) if number is None else number
    a, b = (repr(names[number]) if number < len(names) else 'none' for names in (ours, theirs))
    lacking = [name for name in ours if name not in theirs]
    unknown = [name for name in theirs if name not in ours]
    details = [
        f'{which} {", ".join(map(repr, names[:3]))}' + (', ...' if len(names) > 3 else '')
        for which, names in (('it lacks', lacking), ('it alone has', unknown))
        if names
    ]
    right = (
        'Give it the same folders, empty ones where a class has no image'
        if training.folders is not None and other.folders is not None
        else 'Set metainfo=dict(classes=[...]) to the names in the order of its labels'
    )
    raise ValueError(
        f'{other.place} numbers its classes otherwise than {training.place}: {number} is {a} in '
        f'training, but {b} there' + ''.join(f'; {detail}' for detail in details) + f'. {right}'
    )


def of_config(dataset: Any, place: str) -> Iterator[ClassNames]:
    """Find what is known of a data set's classes without reading it, for each that it is made of.

    Args:
        dataset: Its config, or itself.
        place: Of it in the run's config.
    """
    if not isinstance(dataset, dict):
        yield from _of_built(dataset, place)
        return
    inner = {f'{place}.datasets.{k}': part for k, part in enumerate(dataset.get('datasets') or ())}
    if 'dataset' in dataset:
        inner[f'{place}.dataset'] = dataset['dataset']
    for where, part in inner.items():
        yield from of_config(part, where)
    if inner:
        return
    if 'PreparedImages' in str(dataset.get('type')):
        with suppress(OSError, KeyError, ValueError):  # who opens it says what is wrong
            yield ClassNames(place, tuple(read_manifest(dataset['data_root'])['classes']), None)
        return
    try:
        built = build(DATASETS, dict(dataset, pipeline=[], lazy_init=True))
    except Exception:  # it does not know these options, or needs what is not there
        return
    if isinstance(built, BaseDataset):
        yield from _of_built(built, place)


def _of_built(dataset: Any, place: str) -> Iterator[ClassNames]:
    parts = getattr(dataset, 'datasets', None)
    if parts is None and not hasattr(dataset, 'metainfo') and hasattr(dataset, 'dataset'):
        parts = [dataset.dataset]
    if parts is not None:
        for part in parts:
            yield from _of_built(part, place)
        return
    if isinstance(dataset, BaseDataset) and type(dataset).load_data_list is (
        BaseDataset.load_data_list
    ):
        try:
            dataset.full_init()  # the names are in its file of annotations
        except Exception:  # who reads it says what is wrong
            return
    names = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    folders = _folders(dataset)
    if names is not None or folders is not None:
        yield ClassNames(place, None if names is None else tuple(names), folders)


def _folders(dataset: Any) -> tuple[str, ...] | None:
    while not isinstance(dataset, CustomDataset) and hasattr(dataset, 'dataset'):
        dataset = dataset.dataset
    if not isinstance(dataset, CustomDataset) or dataset.ann_file or not dataset.with_label:
        return None
    root = str(dataset.img_prefix)
    return tuple(find_folders(root)[0]) if Path(root).is_dir() else None
