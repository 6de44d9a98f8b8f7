"""A teacher that is a file of logits written earlier."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import DataLoader

from aekt_mm.registry import MODELS
from aekt_mm.structures import batch_views

from ..data_preprocessors import BatchPreprocessor, ViewPreprocessor
from .identity import data_identity, differences
from .logit_cache import LogitCache
from .teacher import Teacher
from .wrapping import teacher_identity


@MODELS.register_module()
class CachedTeacher(Teacher):
    """The logits that ``tools/cache_teacher.py`` wrote, looked up by view and sample.

    It stands in for an :class:`OnlineTeacher` and costs a read instead of a forward pass. With as
    many views as epochs a run sees the same images and logits as online; with fewer, the views come
    again in turn. :class:`~aekt_mm.engine.hooks.DistillCheckHook` introduces it to the run's data
    before training starts.

    Args:
        cache: The folder.
        online: Config of the teacher whose logits they should be, to be checked.

    Raises:
        FileNotFoundError: If there is no cache.
        ValueError: If it is incomplete, truncated, or of another teacher.
    """

    def __init__(self, cache: str | Path, online: dict | None = None) -> None:
        super().__init__()
        self.cache = LogitCache(cache)
        self.cache.require_complete()
        self.num_classes = self.cache.classes
        self.attached = False
        self.labels: Tensor | None = None  # of the data set, which logits of the format topk need
        self.table: Tensor | None = None  # the logits of one view, on the images' device
        self.table_view: int | None = None
        if online is not None:
            self._compare({'teacher': teacher_identity(online)})

    def identity(self) -> dict:
        """Return the teacher whose logits they are, and how exactly they are kept."""
        kept = ('format', 'k', 'temperature')
        return {
            'type': 'CachedTeacher',
            'teacher': self.cache.manifest['identity'].get('teacher'),
            **{name: self.cache.manifest[name] for name in kept},
        }

    @property
    def unsure(self) -> bool:
        """Whether the logits may be of other data."""
        return not self.attached

    def attach(
        self, loader: DataLoader | None, preprocessor: Any, epochs: int | None = None
    ) -> None:
        """Check that the logits belong to a run's data, and let its views repeat as they do.

        Args:
            loader: Of the training data, with a ``ViewSampler``; None where it is not known yet.
            preprocessor: The model's.
            epochs: How many the run has; None where its views may repeat as often as they like.

        Raises:
            TypeError: If the data has no views, or images are mixed by something else.
            ValueError: If the cache is of other data, views or seed; the message says what differs.
        """
        if loader is None:
            return
        if not hasattr(loader.sampler, 'num_views'):
            raise TypeError(
                'a cached teacher is looked up by views: set sampler=dict(type="ViewSampler") in '
                f'train_dataloader, which has {type(loader.sampler).__name__}'
            )
        self._compare(data_identity(loader, preprocessor))
        mixes = getattr(preprocessor, 'batch_augments', None) is not None
        if mixes and not isinstance(preprocessor, BatchPreprocessor | ViewPreprocessor):
            raise TypeError(
                f'{type(preprocessor).__name__} mixes images by other random numbers than those of '
                "the views, so that no logits belong to them: set type='ViewPreprocessor' in "
                'data_preprocessor'
            )
        if mixes and epochs is not None and epochs > self.cache.views:
            raise ValueError(
                f'{epochs} epochs need as many views where images are mixed, but the cache '
                f'{self.cache.folder} has {self.cache.views}: partners change with every epoch'
            )
        loader.sampler.num_views = self.cache.views
        self.labels = getattr(loader.dataset, 'labels', None)
        self.attached = True

    def tap(self, paths: Sequence[str]) -> NoReturn:
        """Refuse: what was written are logits.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            f'a cached teacher has no features, but {paths[0]!r} is asked for: use the teacher '
            'itself, or a loss on logits'
        )

    def forward(self, inputs: Tensor, data_samples: Sequence[DataSample]) -> Tensor:
        """Look up the logits of a batch.

        Args:
            inputs: Not looked at.
            data_samples: With ``sample_idx``, ``view`` and ``gt_label``.

        Returns:
            Logits (N, C), float32, on the inputs' device.

        Raises:
            ValueError: If the view is damaged.
        """
        if not self.attached:
            raise RuntimeError(
                "the cached teacher does not know the run's data: add "
                "check=dict(type='DistillCheckHook') to default_hooks"
            )
        view, samples, labels = batch_views(data_samples)
        if not isinstance(samples, Tensor):
            return self.cache.read(view, samples, labels)
        self.prepare(data_samples)
        return self.table.index_select(0, samples)

    def prepare(self, data_samples: Sequence[DataSample]) -> None:
        """Load the logits of a batch's whole view, where its samples are on a device already.

        A step that runs as a CUDA graph can't read a file: this is called before it.

        Args:
            data_samples: As of a call.

        Raises:
            ValueError: If the view is damaged.
        """
        view, samples, _ = batch_views(data_samples)
        if view == self.table_view or not isinstance(samples, Tensor):
            return
        logits = self.cache.read(view, np.arange(self.cache.samples), self.labels)
        if self.table is None:
            self.table = logits.to(samples.device)
        else:  # in its place, from where a graph reads it
            self.table.copy_(logits)
        self.table_view = view

    def _compare(self, run: dict) -> None:
        found = differences(self.cache.manifest['identity'], run)
        if found:
            raise ValueError(
                f'the teacher cache {self.cache.folder} does not belong to this run: make it anew '
                'with tools/cache_teacher.py\n  ' + '\n  '.join(found)
            )
