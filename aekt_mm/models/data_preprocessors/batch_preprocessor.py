"""Augmentation and normalisation of a whole batch, where the model lives."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmpretrain.models import ClsDataPreprocessor
from torch import Tensor

from aekt_mm.registry import MODELS
from aekt_mm.structures import BatchSample, draw, seeded


@MODELS.register_module()
class BatchPreprocessor(ClsDataPreprocessor):
    """Crop, flip and normalise the batches of an :class:`~aekt_mm.datasets.ArrayDataset`.

    The standard augmentation of CIFAR (He et al., 2016, section 4.2): black borders, a random crop
    of the original size, a random horizontal flip, each drawn from the sample's view. Batches
    without views (validation) are only normalised. Images come out channels-last.

    Args:
        mean: Of R, G, B pixels in [0, 255].
        std: Of R, G, B pixels in [0, 255].
        crop_padding: Width of the border in pixels; 0 for no crop.
        flip: Whether to mirror half of the images.
        num_classes: Number of classes, needed by ``batch_augments``.
        batch_augments: mmpretrain's batch augmentations (Mixup, CutMix), as in its
            ``ClsDataPreprocessor``. They draw from the views of the batch: the same batch is mixed
            in the same way, whoever loads it.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        crop_padding: int = 0,
        flip: bool = False,
        num_classes: int | None = None,
        batch_augments: dict | None = None,
    ) -> None:
        if not isinstance(crop_padding, int) or crop_padding < 0:
            raise ValueError(
                f'crop_padding must be a whole number of pixels, but is {crop_padding!r}'
            )
        super().__init__(mean=mean, std=std, num_classes=num_classes, batch_augments=batch_augments)
        self.crop_padding = crop_padding
        self.flip = flip

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch.

        Args:
            data: ``inputs`` (N, H, W, 3) uint8 and ``data_samples``, a
                :class:`~aekt_mm.structures.BatchSample`.
            training: Whether to augment.

        Returns:
            The same with ``inputs`` (N, 3, H, W) float32, channels-last.

        Raises:
            TypeError: If the batch comes from another kind of dataset, or is to be augmented and
                has no views.
        """
        images, samples = self.cast_data(data['inputs']), self.cast_data(data['data_samples'])
        if not isinstance(samples, BatchSample):
            raise TypeError(
                'BatchPreprocessor takes the whole batches of an ArrayDataset with '
                f"collate_fn=dict(type='whole_batch'), but got {type(samples).__name__}"
            )
        augment = training and (self.crop_padding or self.flip or self.batch_augments is not None)
        if augment:
            if 'view_key' not in samples:
                raise TypeError(
                    'BatchPreprocessor augments by views, but the batch has none: set '
                    "sampler=dict(type='ViewSampler') in train_dataloader"
                )
            images = crop_and_flip(images, samples.view_key, self.crop_padding, self.flip)
        inputs = self._normalise(images)
        if augment and self.batch_augments is not None:
            shares = F.one_hot(samples.gt_label, self.num_classes).float()
            with seeded(samples.view_key[0].item()):
                inputs, samples.gt_score = self.batch_augments(inputs, shares)
        return dict(inputs=inputs, data_samples=samples)

    def _normalise(self, images: Tensor) -> Tensor:
        """Return (N, 3, H, W) float32, channels-last; a whole row of pixels is one vector."""
        count, height, width, _ = images.shape
        mean, std = (buffer.flatten().repeat(width) for buffer in (self.mean, self.std))
        inputs = images.reshape(count, height, width * 3).float().sub_(mean).div_(std)
        return inputs.view(count, height, width, 3).permute(0, 3, 1, 2)


def crop_and_flip(images: Tensor, keys: Tensor, padding: int, flip: bool) -> Tensor:
    """Crop padded images at random and mirror half of them, in one gather.

    Args:
        images: (N, H, W, 3) uint8.
        keys: Of the samples' views, (N,) int64.
        padding: Width of the black border in pixels.
        flip: Whether to mirror.

    Returns:
        (N, H, W, 3) uint8.
    """
    count, height, width, _ = images.shape
    places, padded_width = 2 * padding + 1, width + 2 * padding
    # a pixel and a spare byte are one 32-bit number, of which a gather moves many at a time
    border = (0, 1, padding, padding, padding, padding)
    pixels = F.pad(images, border).view(torch.int32).flatten(1)

    top, left = ((draw(keys, number) * places).long()[:, None] for number in (0, 1))
    rows = (torch.arange(height, device=images.device) + top) * padded_width
    columns = torch.arange(width, device=images.device).expand(count, -1)
    if flip:
        columns = torch.where(draw(keys, 2)[:, None] < 0.5, columns.flip(1), columns)
    window = (rows[:, :, None] + (columns + left)[:, None, :]).flatten(1)
    crops = pixels.gather(1, window).view(torch.uint8)
    return crops.view(count, height, width, 4)[..., :3]
