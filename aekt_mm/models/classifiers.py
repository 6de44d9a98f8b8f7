"""What distillation needs of an image classifier: build it, count its classes, find its end."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmpretrain.models.heads import ConformerHead
from torch import Tensor, nn

from aekt_mm.recipes import find_recipe
from aekt_mm.registry import MODELS, SCOPE, build, type_name
from aekt_mm.structures import input_order, pipeline_order

#: Sides of the random images that try out a classifier.
TRIAL_SIZES = (32, 64, 224, 384)


def build_classifier(spec: dict | str | Path | nn.Module) -> tuple[nn.Module, dict | None]:
    """Build a classifier from any way of naming one.

    Args:
        spec: A model config; the path of a config file, whose ``model`` is meant, possibly in an
            installed package (``mmpretrain::resnet/resnet18_8xb32_in1k.py``); or a module or any
            other callable from images to logits, which is returned as it is.

    Returns:
        The classifier, and the config of its data preprocessing where it comes with one.

    Raises:
        FileNotFoundError: If the config file does not exist.
        TypeError: If ``spec`` is none of these.
        ValueError: If the config file defines no model.
    """
    if isinstance(spec, str | Path):
        spec = read_classifier(spec)
    if isinstance(spec, dict):
        return build(MODELS, spec), spec.get('data_preprocessor')
    if callable(spec):
        return spec, getattr(spec, 'data_preprocessor', None)
    raise TypeError(
        'a classifier is a config dict, the path of a config file, or a callable from images to '
        f'logits, but got {type(spec).__name__}: {spec!r}'
    )


def read_classifier(path: str | Path) -> ConfigDict:
    """Return the model of a config file, with its data preprocessor in it.

    Args:
        path: As for :func:`build_classifier`.

    Raises:
        FileNotFoundError: If the config file does not exist.
        ValueError: If it defines no model.
    """
    file = _config_file(str(path))
    if not Path(file).is_file():
        raise FileNotFoundError(f'there is no config {path}')
    config = Config.fromfile(file)
    if 'model' not in config:
        raise ValueError(f'the config {path} defines no `model`')
    if config.get('data_preprocessor') is not None:
        config.model.setdefault('data_preprocessor', config.data_preprocessor)
    return config.model


def trained_order(spec: dict | str | Path | nn.Module) -> str:
    """Return the order of the channels that a classifier was trained on.

    A config file says what its images are and what is done to them: mmpretrain's MobileViT is
    trained on files, which are BGR, as they are. Of anything else RGB is supposed.

    Args:
        spec: As for :func:`build_classifier`.

    Returns:
        'RGB' or 'BGR'.
    """
    if isinstance(spec, str | Path):
        config = Config.fromfile(_config_file(str(spec)))
    else:  # mmpretrain.get_model leaves the config in the model
        config = getattr(spec, '_config', None)
    if config is None:
        return 'RGB'
    return config_order(config, config.model.get('data_preprocessor'))


def config_order(config: Config, preprocessor: dict | None = None) -> str:
    """Return the order of the channels of what a config trains on, 'RGB' or 'BGR'.

    Args:
        config: With ``train_dataloader`` or ``test_dataloader``; RGB is supposed without.
        preprocessor: What prepares the images. By default the config's.
    """
    for loader in ('train_dataloader', 'test_dataloader'):
        dataset = (config.get(loader) or {}).get('dataset') or {}
        while 'dataset' in dataset and type_name(dataset) not in ('InMemory', 'CropDataset'):
            dataset = dataset.dataset
        crops = type_name(dataset) == 'CropDataset'
        if crops or 'pipeline' in dataset:
            preprocessor = preprocessor or config.get('data_preprocessor') or {}
            order = 'BGR' if crops else pipeline_order(dataset.pipeline)
            return input_order(order, preprocessor)
    return 'RGB'


def pipeline_side(pipeline: list[dict]) -> int | None:
    """Return how large the images are that a pipeline ends with, or None where it does not say.

    Examples:
        >>> pipeline_side([dict(type='Resize', scale=256), dict(type='CenterCrop', crop_size=224)])
        224
    """
    side = None
    for step in pipeline:
        size = step.get('crop_size', step.get('scale'))
        side = max(size) if isinstance(size, list | tuple) else size or side
    return side


def _config_file(spec: str) -> str:
    """Find a config, in the file system or in an installed package's MIM folder.

    MMEngine's ``get_config`` does the second, but in 0.10.7 it needs a module that setuptools no
    longer has.
    """
    package, inside, name = spec.rpartition('::')
    if not inside:
        return spec
    if package == SCOPE:
        return str(find_recipe(spec))
    found = find_spec(package)
    if found is None:
        raise FileNotFoundError(f'{spec}: the package {package} is not installed')
    return str(Path(found.origin).parent / '.mim' / 'configs' / name)


def num_classes(classifier: Any) -> int | None:
    """Return how many classes a classifier tells apart, or None where that can't be seen.

    Examples:
        >>> num_classes(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 10)))
        10
    """
    for owner in (getattr(classifier, 'head', None), classifier):
        count = getattr(owner, 'num_classes', None)
        if isinstance(count, int):
            return count
    layers = [m for m in _modules(classifier) if isinstance(m, nn.Linear)]
    return layers[-1].out_features if layers else None


def output_layers(classifier: nn.Module) -> list[nn.Linear]:
    """Return the linear layers of a classifier's head whose outputs are the classes.

    One in most heads; two in DeiT's, whose outputs are averaged.
    """
    classes = num_classes(classifier)
    head = getattr(classifier, 'head', classifier)
    return [m for m in _modules(head) if isinstance(m, nn.Linear) and m.out_features == classes]


def run(network: Callable[[Tensor], Any], images: Tensor, whose: str) -> Any:
    """Run a network, and say whose it is where something does not fit.

    Args:
        network: From images.
        images: (N, 3, H, W).
        whose: 'student' or 'teacher'.

    Raises:
        ValueError: If layers or images do not fit each other.
    """
    if torch.compiler.is_compiling():
        return network(images)
    try:
        return network(images)
    except (RuntimeError, AssertionError, ValueError) as error:
        said = None if isinstance(error, torch.OutOfMemoryError) else _misfit(str(error))
        if said is None:
            raise
        raise ValueError(f'the {whose}, given images {tuple(images.shape)}: {said}') from error


def _misfit(error: str) -> str | None:
    """Return what an error says of sizes, None where it says nothing of them."""
    factors = re.search(r'mat1 and mat2 shapes .* \(\d+x(\d+) and (\d+)x(\d+)\)', error)
    if factors:
        given, taken, classes = factors.groups()
        return (
            f'its linear layer to {classes} takes {taken} features, but is given {given}: '
            'in_channels of its head must be as many as its backbone gives'
        )
    if 'more than 1 value per channel' in error:
        return (
            'batch norm can take no mean of a batch of one image: set train_dataloader.drop_last='
            'True, or another batch_size'
        )
    sizes = re.search(r'size|shape|channels|dimension', error, re.IGNORECASE)
    return error.strip().splitlines()[0] if sizes else None


@torch.no_grad()
def trial_images(classifier: nn.Module, sizes: Sequence[int] = TRIAL_SIZES) -> Tensor:
    """Return a few random images that a classifier takes, the same ones every time.

    Args:
        classifier: In evaluation mode.
        sizes: In pixels, to be tried.

    Returns:
        (4, 3, H, H), H the first of the sizes that works.

    Raises:
        ValueError: If none does.
    """
    generator = torch.Generator().manual_seed(0)
    for size in sizes:
        images = torch.randn(4, 3, size, size, generator=generator)
        try:
            with unchanged(classifier):
                classifier(images)
        except (RuntimeError, AssertionError):
            continue
        return images
    raise ValueError(
        f'{type(classifier).__name__} takes RGB images of none of the sizes {tuple(sizes)}'
    )


@contextmanager
def unchanged(network: Any) -> Iterator[None]:
    """Undo what runs of a network set in it: some make their tables anew for the images' size.

    EVA02 does, so that a run with images of another size would change what its state_dict has.
    """
    scripted = torch.jit.ScriptModule  # keeps its buffers where they can't be exchanged
    modules = [module for module in _modules(network) if not isinstance(module, scripted)]
    kept = [(module, dict(vars(module)), dict(module._buffers)) for module in modules]
    try:
        yield
    finally:
        for module, attributes, buffers in kept:
            vars(module).update(attributes)
            module._buffers.clear()
            module._buffers.update(buffers)


def class_logits(classifier: Any, outputs: Any) -> Any:
    """Return the logits in what a classifier puts out: of Conformer's two the sum, as it predicts.

    Args:
        classifier: Of mmpretrain, or any other callable.
        outputs: Of a batch of images; what is no Conformer's is returned as it is.
    """
    if isinstance(getattr(classifier, 'head', None), ConformerHead):
        return sum(outputs)
    return outputs


def _modules(model: Any) -> list[nn.Module]:
    return list(model.modules()) if isinstance(model, nn.Module) else []
