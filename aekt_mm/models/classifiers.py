"""Image classifiers of any origin: building, number of classes, output layers."""

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
from aekt_mm.registry import MODELS, SCOPE, build
from aekt_mm.structures import config_order  # noqa: F401  where it was

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
    file = config_file(str(path))
    if not Path(file).is_file():
        raise FileNotFoundError(f'there is no config {path}')
    config = Config.fromfile(file)
    if 'model' not in config:
        raise ValueError(f'the config {path} defines no `model`')
    if config.get('data_preprocessor') is not None:
        config.model.setdefault('data_preprocessor', config.data_preprocessor)
    return config.model


def pipeline_side(pipeline: list[dict]) -> int | None:
    """Return the image size at the end of a pipeline, or None where it is not known.

    Examples:
        >>> pipeline_side([dict(type='Resize', scale=256), dict(type='CenterCrop', crop_size=224)])
        224
    """
    side = None
    for step in pipeline:
        size = step.get('crop_size', step.get('scale'))
        side = max(size) if isinstance(size, list | tuple) else size or side
    return side


def __getattr__(name: str) -> Any:
    """Find what has moved."""
    if name == 'trained_order':
        from .teachers.input_adapter import trained_order

        return trained_order
    raise AttributeError(f'module {__name__} has no attribute {name}')


def config_file(spec: str) -> str:
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
    if found is None or found.origin is None:
        raise FileNotFoundError(f'{spec}: the package {package} is not installed')
    return str(Path(found.origin).parent / '.mim' / 'configs' / name)


def num_classes(classifier: Any) -> int | None:
    """Return a classifier's number of classes, or None where it is not known.

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
    """Return which sizes do not fit, in words; None for an error of another kind."""
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
    """Restore a network's attributes and buffers after it was run.

    EVA02 resizes its tables to the images: without this a run would change its state_dict.
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
    """Return the logits of a classifier's output; of Conformer's two their sum, as it predicts.

    Args:
        classifier: Of mmpretrain, or any other callable.
        outputs: Of a batch of images; what is no Conformer's is returned as it is.
    """
    if isinstance(getattr(classifier, 'head', None), ConformerHead):
        return sum(outputs)
    return outputs


def _modules(model: Any) -> list[nn.Module]:
    return list(model.modules()) if isinstance(model, nn.Module) else []
