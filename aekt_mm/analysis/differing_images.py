"""The images on which students and their teachers differ most."""

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from aekt_mm.structures import data_order

from .predictions import Predictions

#: The longest side of an image that is shown, in pixels.
SIDE = 112


@dataclass(frozen=True)
class DifferingImage:
    """An image, with what both networks say of it.

    Attributes:
        picture: A data URL of PNG.
        number: Of the image in its data set.
        label: Its class.
        student: The class that the student predicts, and how sure it is, in [0, 1].
        teacher: The same of the teacher.
        divergence: KL(teacher, student), in nats.
    """

    picture: str
    number: int
    label: str
    student: tuple[str, float]
    teacher: tuple[str, float]
    divergence: float


def differing_images(predictions: Predictions, count: int) -> dict[str, list[DifferingImage]]:
    """Return for each run with a teacher the images of the greatest divergence, that one first.

    Args:
        predictions: Of the runs.
        count: How many images of a run.
    """
    found = {}
    for run, (student, teacher) in predictions.pairs().items():
        log_student, log_teacher = (z.double().log_softmax(1) for z in (student, teacher))
        divergence = (log_teacher.exp() * (log_teacher - log_student)).sum(1)
        values, chosen = divergence.topk(min(count, len(divergence)))
        found[run] = [
            DifferingImage(
                picture(predictions.dataset, k),
                k,
                str(predictions.classes[int(predictions.labels[k])]),
                _prediction(log_student[k], predictions),
                _prediction(log_teacher[k], predictions),
                value,
            )
            for k, value in zip(chosen.tolist(), values.tolist())
        ]
    return found


def _prediction(log_probabilities: torch.Tensor, predictions: Predictions) -> tuple[str, float]:
    value, which = log_probabilities.max(0)
    return str(predictions.classes[int(which)]), value.exp().item()


def picture(dataset: Dataset, number: int) -> str:
    """Return an image of a data set, as a network is given it, as a data URL.

    Args:
        dataset: Of ours, or of mmpretrain.
        number: Of the image.
    """
    pixels: Any = dataset[number]['inputs']
    pixels = np.asarray(pixels)
    pixels = pixels[0] if pixels.ndim == 4 else np.moveaxis(pixels, 0, -1)
    if data_order(dataset) == 'BGR':
        pixels = pixels[..., ::-1]
    image = Image.fromarray(np.ascontiguousarray(pixels).astype(np.uint8).squeeze())
    image.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    image.save(file, 'PNG')
    return 'data:image/png;base64,' + base64.b64encode(file.getvalue()).decode()
