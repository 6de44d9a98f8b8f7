"""Which image sets a config reads, and letting it read them from where they were prepared."""

from pathlib import Path

from mmengine.config import Config

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
    """
    sets = image_sets(cfg)
    for name in sets:
        if not (Path(folder).expanduser() / name / 'manifest.json').is_file():
            raise FileNotFoundError(
                f'the prepared set {name} was looked for in {Path(folder) / name}, which has none: '
                f'write it with tools/dataset_converters/prepare_images.py {cfg.filename} {folder}'
            )
    read = {loader: _innermost(cfg.get(loader)) for loader in LOADERS}
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
