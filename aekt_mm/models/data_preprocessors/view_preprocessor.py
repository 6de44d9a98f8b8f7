"""Mixing of a batch whose images were augmented one by one."""

from mmpretrain.models import ClsDataPreprocessor

from aekt_mm.registry import MODELS
from aekt_mm.structures import batch_key, seeded


@MODELS.register_module()
class ViewPreprocessor(ClsDataPreprocessor):
    """mmpretrain's ``ClsDataPreprocessor``, which mixes batches by their views.

    For the batches of a :class:`~aekt_mm.datasets.ViewDataset`, where ``batch_augments`` are set.
    As in :class:`BatchPreprocessor` a batch's mix is drawn from the view of its first sample.

    Args:
        *args: As mmpretrain's.
        **kwargs: As mmpretrain's.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch as mmpretrain does.

        Raises:
            TypeError: If the batch is to be mixed and has no views.
        """
        if not training or self.batch_augments is None:
            return super().forward(data, training)
        with seeded(batch_key(data['data_samples'])):
            return super().forward(data, training)
