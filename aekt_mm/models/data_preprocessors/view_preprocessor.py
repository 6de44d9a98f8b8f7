"""mmpretrain's preprocessing for batches with views."""

from typing import Any

import torch
from mmpretrain.models import ClsDataPreprocessor
from torch import Tensor

from aekt_mm.registry import MODELS
from aekt_mm.structures import BatchSample, batch_key, require_views, seeded

from .view_augmentation import ViewAugmentation


@MODELS.register_module()
class ViewPreprocessor(ClsDataPreprocessor):
    """mmpretrain's ``ClsDataPreprocessor`` for batches of a ``ViewDataset`` or a ``CropDataset``.

    Inputs come out channels-last, the format in which convolutions are fast; they may also come in
    so, (N, H, W, 3) of a ``CropDataset``. Where ``batch_augments`` are set, they mix as in
    :class:`BatchPreprocessor`: drawn from the view of a batch's first sample.

    Args:
        *args: As mmpretrain's.
        view_augments: Options of :class:`ViewAugmentation`: flips, colour jitter and erasing on
            whole batches where the model lives, each image's drawn from its view. A dataset's
            workers then only load and crop. In training alone.
        **kwargs: As mmpretrain's.

    Raises:
        ValueError: If an option of ``view_augments`` is out of its range.
    """

    def __init__(self, *args, view_augments: dict | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._non_blocking = (
            True  # MMEngine's option, which mmpretrain's preprocessor does not take
        )
        self.view_augments = None
        if view_augments is not None:
            self.view_augments = ViewAugmentation(**view_augments)

    @torch.compiler.disable  # where a whole step is compiled: samples can't be traced
    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch as mmpretrain does.

        Raises:
            TypeError: If the batch is to be augmented or mixed and has no views.
        """
        inputs = data['inputs']
        samples: Any = data.get('data_samples')
        whole = isinstance(samples, BatchSample)
        if isinstance(inputs, Tensor) and inputs.ndim == 4 and inputs.shape[1] != 3:
            inputs = inputs.permute(0, 3, 1, 2)
        if training and self.view_augments is not None:
            require_views(samples)
            keys = samples.view_key if whole else torch.tensor([s.view_key for s in samples])
            inputs, keys = self.cast_data(inputs), self.cast_data(keys)
            inputs = self.view_augments(inputs, keys)
        mixes = training and self.batch_augments is not None
        scored = mixes or self.to_onehot  # mmpretrain's code for it takes samples one by one
        separate: Any = samples
        if whole:
            separate = list(samples) if scored else None
        data = {**data, 'inputs': inputs, 'data_samples': separate}
        if mixes:
            with seeded(batch_key(samples)):
                data = super().forward(data, training)
        else:
            data = super().forward(data, training)
        data['inputs'] = data['inputs'].contiguous(memory_format=torch.channels_last)
        if whole:
            data['data_samples'] = self.cast_data(samples)
            if scored:
                scores = [sample.gt_score for sample in separate]
                data['data_samples'].gt_score = torch.stack(scores)
        return data
