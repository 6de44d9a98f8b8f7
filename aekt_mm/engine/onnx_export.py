"""A student as ONNX, compared with itself before it is written."""

import copy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aekt_mm.models.classifiers import class_logits

#: What requirements/onnx.txt installs.
PACKAGES = ('onnx', 'onnxruntime', 'onnxscript')

#: How far its logits may be from the student's, of the largest logit or of 1, where float32 holds
#: as much.
TOLERANCE = 1e-5

#: What the exporter writes beside the network, such as stack traces and names of classes.
NOTES = ('metadata_props', 'doc_string')


class Logits(nn.Module):
    """Maps images to logits, and takes nothing else.

    Args:
        student: An image classifier.
    """

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, C) of images (N, 3, H, W)."""
        return class_logits(self.student, self.student(images))


def check_packages() -> None:
    """Check that what is needed is installed.

    Raises:
        ValueError: Naming what is not, and how to install it.
    """
    absent = [name for name in PACKAGES if find_spec(name) is None]
    if absent:
        raise ValueError(
            f'--onnx needs {", ".join(absent)}, which is not installed: pip install '
            'onnx onnxruntime onnxscript'
        )


@torch.no_grad()
def export_onnx(student: nn.Module, side: int, path: Path) -> None:
    """Write a student as ONNX, from ``images`` to ``logits``, for batches of any size.

    Args:
        student: In evaluation mode, on the CPU.
        side: Of the images, in pixels.
        path: Of the file.

    Raises:
        ValueError: If ONNX Runtime computes something else than the student, by more than
            rounding, see :func:`rounding`.
    """
    import onnx
    import onnxruntime

    network = Logits(student).eval()
    generator = torch.Generator().manual_seed(0)
    shown, others = (torch.randn(n, 3, side, side, generator=generator) for n in (2, 5))
    torch.onnx.export(
        network,
        (shown,),
        str(path),
        input_names=['images'],
        output_names=['logits'],
        dynamic_shapes={'images': {0: torch.export.Dim('batch')}},
        external_data=False,
        dynamo=True,
        verbose=False,
    )
    model = onnx.load(path)
    _strip(model)
    onnx.save(model, path)
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    for images in (shown, others):
        expected = network(images)
        found = torch.from_numpy(session.run(['logits'], {'images': images.numpy()})[0])
        error, bound = (found - expected).abs().max().item(), rounding(network, images)
        if not error <= bound:
            raise ValueError(
                f'ONNX Runtime computes other logits than the student, {error:.2g} apart, and at '
                f'most {bound:.2g} is rounding: nothing was written'
            )


@torch.no_grad()
def rounding(network: nn.Module, images: Tensor) -> float:
    """Return how far apart two runs of a network may be that round differently.

    ``TOLERANCE`` of the largest logit; or, where activations are so large that float32 holds less
    of the logits, four times the distance of its logits from those in double precision.

    Args:
        network: In evaluation mode, from images to logits (N, C).
        images: (N, 3, H, W), float32.
    """
    logits = network(images)
    bound = TOLERANCE * max(1.0, logits.abs().max().item())
    try:
        exact = copy.deepcopy(network).double()(images.double())
    except RuntimeError:  # a part of it insists on float32
        return bound
    return max(bound, 4 * (logits - exact).abs().max().item())


def _strip(message: Any) -> None:
    """Clear the notes in a part of an ONNX model, and in all of its parts."""
    for note in NOTES:
        if note in message.DESCRIPTOR.fields_by_name:
            message.ClearField(note)
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, 'DESCRIPTOR') else value:
                _strip(part)
