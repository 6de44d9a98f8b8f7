"""A student as ONNX, compared with itself before it is written."""

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from aekt_mm.models.classifiers import class_logits

#: What requirements/onnx.txt installs.
PACKAGES = ('onnx', 'onnxruntime', 'onnxscript')

#: How far its logits may be from the student's, of the largest logit or of 1.
TOLERANCE = 1e-5


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
            ``TOLERANCE``.
    """
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
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    for images in (shown, others):
        expected = network(images)
        found = torch.from_numpy(session.run(['logits'], {'images': images.numpy()})[0])
        error = (found - expected).abs().max().item() / max(1.0, expected.abs().max().item())
        if not error <= TOLERANCE:
            raise ValueError(
                f'ONNX Runtime computes other logits than the student, {error:.2g} apart of the '
                f'largest, and at most {TOLERANCE} is rounding: nothing was written'
            )
