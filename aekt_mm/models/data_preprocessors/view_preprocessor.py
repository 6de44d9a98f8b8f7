"""Batches of images that were augmented one by one."""

import torch
from mmpretrain.models import ClsDataPreprocessor

from aekt_mm.registry import MODELS
from aekt_mm.structures import batch_key, seeded


@MODELS.register_module()
class ViewPreprocessor(ClsDataPreprocessor):
    """mmpretrain's ``ClsDataPreprocessor`` for the batches of a ``ViewDataset``.

    Inputs come out channels-last, the format in which convolutions are fast. Where
    ``batch_augments`` are set, they mix as in :class:`BatchPreprocessor`: drawn from the view of a
    batch's first sample.

    Args:
        *args: As mmpretrain's.
        **kwargs: As mmpretrain's.
    """

    @torch.compiler.disable  # where a whole step is compiled: samples can't be traced
    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch as mmpretrain does.

        Raises:
            TypeError: If the batch is to be mixed and has no views.
        """
        if training and self.batch_augments is not None:
            with seeded(batch_key(data['data_samples'])):
                data = super().forward(data, training)
        else:
            data = super().forward(data, training)
        data['inputs'] = data['inputs'].contiguous(memory_format=torch.channels_last)
        return data
