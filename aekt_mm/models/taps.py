"""Taps: outputs of a network's modules, by module path."""

import difflib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .classifiers import unchanged

#: Put after a path, means what goes into the module instead of what comes out of it.
INPUT = ':input'


class Grid(NamedTuple):
    """Where tokens (N, L, C) lie in the image: their last ``height * width``, row by row."""

    height: int
    width: int


class FeatureTaps:
    """Outputs of a network's modules in one forward pass.

    A path is a module's name within the network (``backbone.layer3``); ``-1`` in it is the last of
    the modules that lie there (``backbone.layer3.-1.relu``), and ``:input`` after it means what
    goes into the module: the input of a block's last ReLU is its pre-activation. A module that
    runs several times counts with its last. Nothing is kept but between :meth:`watch` and
    :meth:`take`.

    Args:
        network: Of mmpretrain, timm, torchvision or one's own.
        paths: In it.
        whose: What to call the network in messages.

    Raises:
        ValueError: If there is no such module; the message names those that come near.

    Examples:
        >>> network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
        >>> taps = FeatureTaps(network, ['0', '-1:input'])
        >>> features = taps.measure(network, torch.rand(5, 3))
        >>> {path: tuple(feature.shape) for path, feature in features.items()}
        {'0': (5, 4), '-1:input': (5, 4)}
    """

    def __init__(self, network: nn.Module, paths: Sequence[str], whose: str = 'network') -> None:
        self.whose = whose
        self.paths = list(dict.fromkeys(paths))
        self.features: dict[str, Tensor] | None = None
        self._grids: dict[str, Grid] = {}
        self._channels_last: set[str] = set()
        self._outputs: dict[str, Any] = {}
        self._cloned: set[str] = set()
        self._versions: dict[str, int] | None = None
        for path in self.paths:
            module = _find(network, path.removesuffix(INPUT), whose)
            if path.endswith(INPUT):
                module.register_forward_pre_hook(partial(self._see, path))
            else:
                module.register_forward_hook(partial(self._see, path))

    def _see(self, path: str, module: nn.Module, inputs: tuple, output: Any = None) -> None:
        if self.features is None:
            return
        output = inputs if path.endswith(INPUT) else output
        feature = _tensor(output, path, self.whose)
        self.features[path] = feature.clone() if path in self._cloned else feature
        if self._versions is not None:
            self._versions[path] = self.features[path]._version
            self._outputs[path] = output

    def _learn_layout(self, network: nn.Module, path: str, feature: Tensor) -> None:
        """Learn how a feature of square images lies in memory, where it is no (N, C, H, W)."""
        shape, output = tuple(feature.shape), self._outputs[path]
        if feature.ndim == 4 and shape[1] == shape[2] != shape[3]:
            self._channels_last.add(path)
        if feature.ndim == 3:
            sizes = _own_grid(output) or _grids(network, path.removesuffix(INPUT))
            # tokens of classes come before those of the image
            found = next((g for g in sizes if 0 <= shape[1] - g.height * g.width <= 2), None)
            if found is not None:
                self._grids[path] = found

    def as_map(self, path: str, feature: Tensor) -> Tensor:
        """Return a feature as (N, C, H, W), where it is known how it lies in the image.

        Args:
            path: Of the module that gave it.
            feature: A map (N, C, H, W) or (N, H, W, C), or tokens (N, L, C). Any other is returned
                as it is, and so are tokens whose grid is not known.
        """
        if path in self._channels_last and feature.ndim == 4:
            return feature.permute(0, 3, 1, 2)
        if path in self._grids and feature.ndim == 3:
            height, width = self._grids[path]
            return feature[:, -height * width :].transpose(1, 2).unflatten(2, (height, width))
        return feature

    def watch(self) -> None:
        """Record the modules' outputs from now on."""
        self.features = {}

    def take(self) -> dict[str, Tensor]:
        """Return the recorded outputs, and stop recording.

        Raises:
            RuntimeError: If a module was not run.
        """
        features, self.features = self.features or {}, None
        missing = [path for path in self.paths if path not in features]
        if missing:
            raise RuntimeError(f'the {self.whose} did not run its module {missing[0]!r}')
        return features

    @torch.no_grad()
    def measure(self, network: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
        """Run the network as in evaluation and return its features.

        What another module changes in place afterwards (a batch norm's output before an in-place
        ReLU) is found out here, and copied from now on.
        """
        training = network.training
        network.eval()
        try:
            while True:
                self._versions = {}
                self.watch()
                with unchanged(network):
                    network(inputs)
                features = self.take()
                changed = {p for p, f in features.items() if f._version != self._versions[p]}
                if not changed:
                    for path, feature in features.items():
                        self._learn_layout(network, path, feature)
                    return features
                self._cloned |= changed
        finally:
            self._versions = None
            self._outputs = {}
            network.train(training)


def _find(network: nn.Module, path: str, whose: str) -> nn.Module:
    module = network
    for part in path.split('.'):
        children = dict(module.named_children())
        if part == '-1' and children:
            part = list(children)[-1]
        if part not in children:
            known = [name for name, _ in network.named_modules() if name]
            close = difflib.get_close_matches(path, known, n=3, cutoff=0.4)
            hint = f'near it are {", ".join(close)}' if close else f'it has {", ".join(known[:9])}'
            raise ValueError(f'the {whose} has no module {path!r}: {hint}')
        module = children[part]
    return module


def _tensor(output: Any, path: str, whose: str) -> Tensor:
    """Return the one tensor of an output; backbones and necks put it into a tuple."""
    if _own_grid(output):
        output = output[0]
    if isinstance(output, list | tuple) and len(output) == 1:
        output = output[0]
    if not isinstance(output, Tensor):
        raise TypeError(
            f"a tapped module must give one tensor, but the {whose}'s {path!r} gives "
            f'{type(output).__name__}'
        )
    return output


def _own_grid(output: Any) -> list[Grid]:
    """Return the grid that stages of mmpretrain's Swin, say, give beside their tokens."""
    if not isinstance(output, list | tuple) or len(output) < 2:
        return []
    tokens, size = output[:2]
    if not isinstance(tokens, Tensor) or tokens.ndim != 3 or not isinstance(size, list | tuple):
        return []
    fits = len(size) == 2 and all(isinstance(side, int) for side in size)
    return [Grid(*size)] if fits and size[0] * size[1] == tokens.shape[1] else []


def _grids(network: nn.Module, path: str) -> Iterator[Grid]:
    """Return how many patches a network around a module says that it cuts images into."""
    names = path.split('.')
    owners = [network]
    for name in names:
        children = dict(owners[-1].named_children())
        owners.append(children[name] if name in children else list(children.values())[-1])
    for owner in reversed(owners):
        embed = getattr(owner, 'patch_embed', None)
        found = [  # mmpretrain's, timm's
            getattr(owner, 'patch_resolution', None),
            getattr(embed, 'grid_size', None),
            getattr(embed, 'init_out_size', None),
        ]
        side, patch = getattr(owner, 'image_size', None), getattr(owner, 'patch_size', None)
        if isinstance(side, int) and isinstance(patch, int):  # torchvision's
            found.append((side // patch, side // patch))
        yield from (Grid(*size) for size in found if isinstance(size, list | tuple))
