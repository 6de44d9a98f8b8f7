"""Channel order of images, RGB or BGR, worked out from the path of the data.

mmcv reads files as BGR; arrays, as CIFAR's, are RGB. A preprocessor's ``to_rgb`` swaps what it is
given. The order of a network's input follows from these; it is no option.
"""

from collections.abc import Iterable
from typing import Any

from mmengine.config import Config

from aekt_mm.registry import type_name

#: The orders, and which is which after a swap.
SWAPPED = {'RGB': 'BGR', 'BGR': 'RGB'}

#: The step of a pipeline that reads files, as BGR.
READER = 'LoadImageFromFile'


def data_order(dataset: Any) -> str:
    """Return the order in which a dataset hands out channels.

    Args:
        dataset: One that says it itself, as ``channel_order``; one with a pipeline, which reads
            files or is given arrays; or one that wraps or joins others.

    Returns:
        'RGB' or 'BGR'.

    Examples:
        >>> from types import SimpleNamespace
        >>> data_order(SimpleNamespace(pipeline=[dict(type='LoadImageFromFile')]))
        'BGR'
    """
    if hasattr(dataset, 'channel_order'):
        return dataset.channel_order
    if hasattr(dataset, 'pipeline'):
        return pipeline_order(getattr(dataset.pipeline, 'transforms', dataset.pipeline))
    for wrapped in (getattr(dataset, 'dataset', None), *getattr(dataset, 'datasets', ())):
        if wrapped is not None:
            return data_order(wrapped)
    return 'RGB'


def pipeline_order(transforms: Iterable[Any]) -> str:
    """Return the order of what comes out of a pipeline.

    Args:
        transforms: mmpretrain's, or their configs.

    Examples:
        >>> pipeline_order([dict(type='LoadImageFromFile'), dict(type='NumpyToPIL', to_rgb=True)])
        'RGB'
    """
    order = 'RGB'
    for transform in transforms:
        if isinstance(transform, dict):
            names, option = [str(transform.get('type')).rpartition('.')[2]], transform.get
        else:
            names = [kind.__name__ for kind in type(transform).__mro__]
            option = vars(transform).get
        if READER in names:
            order = 'BGR'
        elif ('NumpyToPIL' in names and option('to_rgb')) or (
            'PILToNumpy' in names and option('to_bgr')
        ):
            order = SWAPPED[order]
    return order


def input_order(order: str, preprocessor: Any) -> str:
    """Return the order of a model's input.

    Args:
        order: Of the data.
        preprocessor: What the data goes through, or its config, with ``to_rgb`` as mmpretrain's
            ``ClsDataPreprocessor`` has it.
    """
    if isinstance(preprocessor, dict):
        swaps = preprocessor.get('to_rgb')
    else:
        swaps = getattr(preprocessor, 'to_rgb', False)
    return SWAPPED[order] if swaps else order


def config_order(config: Config, preprocessor: dict | None = None) -> str:
    """Return the order of the channels of what a config trains on, 'RGB' or 'BGR'.

    Args:
        config: With ``train_dataloader`` or ``test_dataloader``; RGB is supposed without.
        preprocessor: What prepares the images. By default the config's.
    """
    for loader in ('train_dataloader', 'test_dataloader'):
        dataset: Any = (config.get(loader) or {}).get('dataset') or {}
        while 'dataset' in dataset and type_name(dataset) not in ('InMemory', 'CropDataset'):
            dataset = dataset.dataset
        crops = type_name(dataset) == 'CropDataset'
        if crops or 'pipeline' in dataset:
            preprocessor = preprocessor or config.get('data_preprocessor') or {}
            order = 'BGR' if crops else pipeline_order(dataset.pipeline)
            return input_order(order, preprocessor)
    return 'RGB'
