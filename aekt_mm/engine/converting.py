"""Conversion of checkpoints between this package and the field's frameworks."""

import re
from pathlib import Path

from torch import nn

from aekt_mm.models.checkpoints import load_restricted, save_content, save_weights
from aekt_mm.models.classifiers import build_classifier
from aekt_mm.models.weights import find_weights, load_own_weights

from .recipes import load_recipe

#: Where each framework keeps the weights in a checkpoint; None: the checkpoint is the weights.
KEPT_UNDER = {
    'aekt_mm': 'state_dict',
    'repdistiller': 'model',
    'mdistiller': 'model',
    'torchvision': None,
    'timm': None,
}


def _classifier(name: str) -> dict[str, str]:
    return {r'^head\.fc\.': name, r'^backbone\.': ''}


_CIFAR = ('repdistiller', 'mdistiller')

#: By backbone: who else defines it, and how our names become theirs, one pattern after another.
PEERS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    'CIFARResNet': (_CIFAR, _classifier('fc.')),
    'CIFARWideResNet': (_CIFAR, _classifier('fc.')),
    'CIFARVGG': (_CIFAR, _classifier('classifier.')),
    'CIFARMobileNetV2': (_CIFAR, _classifier('classifier.0.')),
    'CIFARShuffleNetV1': (_CIFAR, _classifier('linear.')),
    'CIFARShuffleNetV2': (_CIFAR, _classifier('linear.')),
    'ResNet_CIFAR': (_CIFAR, {**_classifier('linear.'), r'\.downsample\.': '.shortcut.'}),
    'MobileNetV1': (('mdistiller',), _classifier('fc.')),
    'ResNet': (('torchvision', 'timm', 'mdistiller'), _classifier('fc.')),
    'VisionTransformer': (
        ('timm',),
        {
            r'^head\.layers\.': '',
            r'^backbone\.ln1\.': 'norm.',
            r'^backbone\.': '',
            r'^layers\.': 'blocks.',
            r'\.ln': '.norm',
            r'\.ffn\.layers\.0\.0\.': '.mlp.fc1.',
            r'\.ffn\.layers\.1\.': '.mlp.fc2.',
            r'\.projection\.': '.proj.',
        },
    ),
}
PEERS['TimmClassifier'] = (('timm',), {})  # which names its weights as timm does
PEERS['DistilledVisionTransformer'] = PEERS['VisionTransformer']


def convert(config: str | Path, source: str | Path, target: str | Path, to: str) -> None:
    """Write the weights of a network as another framework keeps them.

    Args:
        config: A recipe; its network is meant, or its student.
        source: A checkpoint of that network, of any of the frameworks.
        target: The file to write, whole or not at all; in the format safetensors, which keeps the
            weights alone, if its name ends so.
        to: The framework to write for, one of ``KEPT_UNDER``.

    Raises:
        FileNotFoundError: If the config or the checkpoint is not there.
        ValueError: If the checkpoint does not fit the network, or the framework does not have it.
    """
    cfg = load_recipe(config)
    network, _ = build_classifier(cfg.model.get('student', cfg.model))
    backbone = _backbone(network)
    peers, _ = PEERS.get(backbone, ((), {}))
    if to not in ('aekt_mm', *peers):
        raise ValueError(f'{to} has no {backbone}: write for one of {("aekt_mm", *peers)}')
    _load(network, source)
    state = network.state_dict()
    if to != 'aekt_mm':
        state = {theirs: state[ours] for ours, theirs in _peer_names(network).items()}
    key = KEPT_UNDER[to]
    if key == 'state_dict' or Path(target).suffix == '.safetensors':
        save_weights(state, target)
    else:
        content = state if key is None else {key: state}
        save_content(content, target)


def _load(network: nn.Module, source: str | Path) -> None:
    """Load weights under our names or a peer's."""
    state = find_weights(load_restricted(source), source)
    state = {name.removeprefix('module.'): value for name, value in state.items()}
    ours = {theirs: ours for ours, theirs in _peer_names(network).items()}
    if state.keys() & ours.keys():
        state = {ours.get(name, name): value for name, value in state.items()}
    load_own_weights(network, state, source)


def _backbone(network: nn.Module) -> str:
    return type(getattr(network, 'backbone', network)).__name__


def _peer_names(network: nn.Module) -> dict[str, str]:
    """Return our names of a network's weights and a peer's."""
    _, patterns = PEERS.get(_backbone(network), ((), {}))
    names = {}
    for ours in network.state_dict():
        names[ours] = ours
        for pattern, replacement in patterns.items():
            names[ours] = re.sub(pattern, replacement, names[ours])
    return names
