"""Batch norm folded into the convolutions before it: the form in which a frozen network is fast."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from ..classifiers import class_logits


@torch.no_grad()
def fold_batch_norms(model: nn.Module, images: Tensor) -> dict[str, str]:
    """Fold every batch norm that reads a convolution's output into it, in place.

    Which reads which is seen in a run. Where folding changes what the network computes by more
    than rounding (because something else reads the convolution's output too), nothing is folded.

    Args:
        model: In evaluation mode.
        images: A batch that it takes, (N, 3, H, W).

    Returns:
        The names of the convolutions and of the batch norms that were folded into them.

    Examples:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
        >>> fold_batch_norms(network, torch.rand(2, 3, 8, 8))
        {'0': '1'}
    """
    pairs, expected = _conv_bn_pairs(model, images)
    if not pairs:
        return {}
    originals = {}
    for conv_name, norm_name in pairs.items():
        conv, norm = model.get_submodule(conv_name), model.get_submodule(norm_name)
        originals |= {conv_name: conv, norm_name: norm}
        _replace(model, conv_name, fuse_conv_bn_eval(conv, norm))
        _replace(model, norm_name, nn.Identity())
    logits = class_logits(model, model(images))
    if not torch.allclose(logits, expected, rtol=1e-3, atol=1e-3 * expected.abs().max()):
        for name, module in originals.items():
            _replace(model, name, module)
        return {}
    return pairs


def _conv_bn_pairs(model: nn.Module, images: Tensor) -> tuple[dict[str, str], Tensor]:
    """Run the model; return which batch norm reads which convolution, and what came out."""
    made_by: dict[int, str] = {}
    kept = []  # outputs must live on, or another tensor could get the same identity
    pairs: dict[str, str] = {}
    calls: dict[str, int] = {}

    def look(name: str, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        calls[name] = calls.get(name, 0) + 1
        if isinstance(module, nn.Conv2d):
            made_by[id(output)] = name
            kept.append(output)
        elif id(inputs[0]) in made_by:
            pairs[made_by[id(inputs[0])]] = name

    hooks = [
        module.register_forward_hook(partial(look, name))
        for name, module in model.named_modules()
        if type(module) in (nn.Conv2d, nn.BatchNorm2d)
    ]
    try:
        expected = class_logits(model, model(images))
    finally:
        for hook in hooks:
            hook.remove()
    # a module that is called twice has no single partner
    once = {c: b for c, b in pairs.items() if calls[c] == calls[b] == 1}
    return once, expected


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition('.')
    setattr(model.get_submodule(parent), child, module)
