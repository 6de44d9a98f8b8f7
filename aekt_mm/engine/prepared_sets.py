"""The image sets of a config, and their replacement by prepared sets."""

import json
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DefaultScope

from aekt_mm.datasets.prepared_images import read_manifest
from aekt_mm.registry import DATASETS, build

from .class_names import of_config
from .image_preparing import digest_of_source

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def image_sets(cfg: Config) -> dict[str, dict]:
    """Return the sets of images that a config reads, under the name that each is prepared as.

    Args:
        cfg: Of mmpretrain or of this package.

    Returns:
        Configs of datasets, without what wraps them: 'train' of the training data; 'val' of the
        validation data and 'test' of the test data, where they read other images.
    """
    sets: dict[str, dict] = {}
    for loader in LOADERS:
        dataset = _innermost(cfg.get(loader))
        if dataset and all(_images(dataset) != _images(known) for known in sets.values()):
            sets[loader.removesuffix('_dataloader')] = dataset
    return sets


def use_prepared(cfg: Config, folder: str) -> None:
    """Let a config read all its images from prepared sets, with pipelines and wrappers as they are.

    Args:
        cfg: Changed in place.
        folder: With a prepared set for each of :func:`image_sets`.

    Raises:
        FileNotFoundError: If one of them is not there.
        ValueError: If one was made of other images.
    """
    sets = image_sets(cfg)
    for name in sets:
        if not (Path(folder).expanduser() / name / 'manifest.json').is_file():
            raise FileNotFoundError(
                f'the prepared set {name} was looked for in {Path(folder) / name}, which has none: '
                f'write it with tools/dataset_converters/prepare_images.py {cfg.filename} {folder}'
            )
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
        for name, dataset in sets.items():
            check_source(dataset, Path(folder).expanduser() / name)
    read = {loader: _innermost(cfg.get(loader)) or {} for loader in LOADERS}
    names = {
        loader: next(name for name, known in sets.items() if _images(known) == _images(dataset))
        for loader, dataset in read.items()
        if dataset
    }
    for loader, name in names.items():
        pipeline = read[loader].get('pipeline', [])
        read[loader].clear()
        read[loader].update(
            type='aekt_mm.PreparedImages', data_root=str(Path(folder) / name), pipeline=pipeline
        )


def origin(dataset: dict) -> dict:
    """Return what a prepared set's manifest says of where its images came from, as JSON has it.

    Args:
        dataset: Config of the dataset that it is made of.
    """
    images = dict(_images(dataset))
    if 'data_root' in images:
        images['data_root'] = str(Path(images['data_root']).expanduser().absolute())
    return json.loads(json.dumps(images, sort_keys=True, default=str))


def check_source(dataset: dict, folder: Path) -> None:
    """Check that a prepared set was made of the images of a dataset.

    Where the manifest names the dataset, that is all. Otherwise, as after a move, the names of the
    images and their labels are compared where they are there; and where they are not, what the
    config says beside their place, and the names of the classes.

    Args:
        dataset: Its config.
        folder: Of the prepared set.

    Raises:
        ValueError: If it was made of others.
    """
    manifest = read_manifest(folder)
    known, wanted = manifest.get('origin'), origin(dataset)
    if known == wanted:
        return
    try:
        source = digest_of_source(build(DATASETS, dict(dataset, pipeline=[])))
    except Exception:  # it is not here
        source = None
    made_of = (known or {}).get('data_root') or 'others'
    where = wanted.get('data_root') or wanted.get('type')
    if source is not None:
        if source != manifest['source']:
            raise ValueError(
                f'the prepared set {folder} was not made of the images of the config, in {where}, '
                f'but of {made_of}: their names or labels differ'
            )
        return
    stated = next(iter(of_config(dataset, '')), None)
    names = stated and (stated.names or stated.folders)
    if names and list(names) != manifest['classes']:
        raise ValueError(
            f'the prepared set {folder} was not made of the images of the config: its classes are '
            f'{", ".join(map(repr, manifest["classes"][:3]))}, ..., and those of {where} are '
            f'{", ".join(map(repr, names[:3]))}, ...'
        )
    known = known or {}
    for key in sorted(known.keys() | wanted.keys()) if known else ():
        if key != 'data_root' and known.get(key) != wanted.get(key):
            raise ValueError(
                f'the prepared set {folder} was not made of the images of the config: it has {key} '
                f'{known.get(key)!r}, and the config {wanted.get(key)!r}'
            )


def _innermost(loader: dict | None) -> dict | None:
    """Return the dataset of a loader below what wraps it (views, a part of it, memory)."""
    dataset = (loader or {}).get('dataset')
    while dataset and 'dataset' in dataset:
        dataset = dataset['dataset']
    return dataset


def _images(dataset: dict) -> dict:
    """Return what says which images a dataset has, as opposed to what is done with them."""
    return {
        key: value
        for key, value in dataset.items()
        if key not in ('pipeline', 'test_mode', '_scope_')
    }
