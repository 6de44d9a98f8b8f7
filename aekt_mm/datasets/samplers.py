"""A sampler of views."""

from collections.abc import Iterator, Sized

from mmengine.dataset import DefaultSampler

from aekt_mm.registry import DATA_SAMPLERS
from aekt_mm.structures import ViewKey


@DATA_SAMPLERS.register_module()
class ViewSampler(DefaultSampler):
    """Hand out a new view of every sample each epoch.

    Otherwise MMEngine's ``DefaultSampler``: the order follows from seed and epoch, ranks take
    turns. It needs a loop by epochs, and MMEngine's ``DistSamplerSeedHook`` to tell it the epoch.

    Args:
        dataset: What to sample from.
        shuffle: Whether each epoch has an order of its own.
        seed: Of the order. By default the runner's.
        round_up: Whether to repeat samples until all ranks have as many.
        num_views: After so many views they come again, in turn. None: each epoch has its own.
        view_seed: Of the views. By default ``seed``; runs of several seeds that set the same one
            see the same views, and can share a teacher's cache.

    Raises:
        ValueError: If ``num_views`` is not a whole number of at least 1.

    Examples:
        >>> sampler = ViewSampler(range(3), shuffle=False, seed=5, num_views=2)
        >>> sampler.set_epoch(3)
        >>> list(sampler)[0]
        ViewKey(seed=5, view=1, sample=0)
    """

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        seed: int | None = None,
        round_up: bool = True,
        num_views: int | None = None,
        view_seed: int | None = None,
    ) -> None:
        super().__init__(dataset, shuffle=shuffle, seed=seed, round_up=round_up)
        if num_views is not None and (not isinstance(num_views, int) or num_views < 1):
            raise ValueError(
                f'num_views must be a whole number of at least 1 or None, but is {num_views!r}'
            )
        self.num_views = num_views
        self.view_seed = self.seed if view_seed is None else view_seed

    @property
    def view(self) -> int:
        """The number of this epoch's view."""
        return self.epoch if self.num_views is None else self.epoch % self.num_views

    def __iter__(self) -> Iterator[ViewKey]:
        view = self.view
        return (ViewKey(self.view_seed, view, sample) for sample in self.samples())

    def samples(self) -> Iterator[int]:
        """Return the samples of this epoch in their order, without their view."""
        return super().__iter__()
