"""Augmentation and normalisation of a whole batch, where the model lives."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor
from mmpretrain.models import RandomBatchAugment
from torch import Tensor

from aekt_mm.registry import MODELS
from aekt_mm.structures import BatchSample, batch_key, draw, require_views, seeded


@MODELS.register_module()
class BatchPreprocessor(BaseDataPreprocessor):
    """Crop, flip and normalise the batches of an :class:`~aekt_mm.datasets.ArrayDataset`.

    The standard augmentation of CIFAR (He et al., 2016, section 4.2): black borders, a random crop
    of the original size, a random horizontal flip, each drawn from the sample's view. Batches for
    validation are only normalised. Images come out channels-last.

    Args:
        mean: Of R, G, B pixels in [0, 255].
        std: Of R, G, B pixels in [0, 255].
        crop_padding: Width of the border in pixels; 0 for no crop.
        flip: Whether to mirror half of the images.
        batch_augments: mmpretrain's batch augmentations (Mixup, CutMix), as in its
            ``ClsDataPreprocessor``. A batch's mix is drawn from the view of its first sample, so
            that it follows from which samples the batch has in which order, whoever loads it; with
            another batch size or number of ranks there are other batches, and other mixes.
        num_classes: Number of classes, which ``batch_augments`` needs.

    Raises:
        ValueError: If an option is out of its range.
    """

    to_rgb = False  # arrays are RGB as they are; ClsDataPreprocessor's word for it

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        crop_padding: int = 0,
        flip: bool = False,
        batch_augments: dict | None = None,
        num_classes: int | None = None,
    ) -> None:
        super().__init__(non_blocking=True)
        for name, values in (('mean', mean), ('std', std)):
            if len(values) != 3 or (name == 'std' and min(values) <= 0):
                above = ' above 0' if name == 'std' else ''
                raise ValueError(f'{name} must be three numbers{above}, but is {values!r}')
            self.register_buffer(name, torch.tensor(values).float().view(3, 1, 1), False)
        if not isinstance(crop_padding, int) or crop_padding < 0:
            raise ValueError(
                f'crop_padding must be a whole number of pixels, but is {crop_padding!r}'
            )
        if batch_augments is not None and num_classes is None:
            raise ValueError('batch_augments needs num_classes, which is not set')
        self.crop_padding = crop_padding
        self.flip = flip
        self.num_classes = num_classes
        self.batch_augments = None
        if batch_augments is not None:
            self.batch_augments = RandomBatchAugment(**batch_augments)

    @torch.compiler.disable  # where a whole step is compiled: BatchSample can't be traced
    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch.

        Args:
            data: ``inputs`` (N, H, W, 3) uint8 and ``data_samples``, a
                :class:`~aekt_mm.structures.BatchSample`.
            training: Whether to augment.

        Returns:
            The same with ``inputs`` (N, 3, H, W) float32, channels-last, and where classes are
            mixed with their shares ``gt_score`` (N, C) in the samples.

        Raises:
            TypeError: If the batch comes from another kind of dataset, or is to be augmented and
                has no views.
        """
        samples = data.get('data_samples')
        if not isinstance(samples, BatchSample):
            raise TypeError(
                'BatchPreprocessor takes the whole batches of an ArrayDataset with '
                f"collate_fn=dict(type='whole_batch'), but got {type(samples).__name__}"
            )
        augments = training and self._augments
        if augments:
            require_views(samples)
        images = data['inputs']
        if images.device != self.mean.device:
            images, samples = self.cast_data(images), self.cast_data(samples)
        if augments:
            images = crop_and_flip(images, samples.view_key, self.crop_padding, self.flip)
        inputs = self._normalise(images)
        if augments and self.batch_augments is not None:
            assert self.num_classes is not None  # the constructor asks for it
            shares = F.one_hot(samples.gt_label, self.num_classes).float()
            with seeded(batch_key(samples)):
                inputs, samples.gt_score = self.batch_augments(inputs, shares)
        return dict(inputs=inputs, data_samples=samples)

    @property
    def _augments(self) -> bool:
        return bool(self.crop_padding or self.flip or self.batch_augments is not None)

    def _normalise(self, images: Tensor) -> Tensor:
        """Return (N, 3, H, W) float32, channels-last; a whole row of pixels is one vector."""
        width = images.shape[2]
        mean, std = (buffer.flatten().repeat(width) for buffer in (self.mean, self.std))
        inputs = images.flatten(2).float().sub_(mean).div_(std)
        return inputs.view(images.shape).permute(0, 3, 1, 2)


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
    count, height, width, channels = images.shape
    top, left, side = draw(keys, 3)
    top, left = ((place * (2 * padding + 1)).long() for place in (top, left))
    which = torch.arange(count, device=images.device)
    if flip:
        # the mirror images come after the images, and what is cropped from the left of the one is
        # on the right of the other
        images = torch.cat([images, images.flip(2)])
        mirrored = side < 0.5
        which = which + count * mirrored
        left = torch.where(mirrored, 2 * padding - left, left)
    borders = (padding * channels, padding * channels, padding, padding)
    pixels = F.pad(images.flatten(2), borders).view(-1, channels)

    # rows are gathered whole, each by the number of its first pixel
    row = (which * (height + 2 * padding) + top)[:, None] + torch.arange(height, device=keys.device)
    first = (row * (width + 2 * padding) + left[:, None]).flatten()
    rows = pixels.as_strided((len(pixels) - width + 1, width * channels), (channels, 1))
    return rows.index_select(0, first).view(count, height, width, channels)
