"""Which view of which sample comes next."""

import pytest
from mmengine.dataset import DefaultSampler

from aekt_mm.datasets import ViewSampler
from aekt_mm.structures import ViewKey


@pytest.mark.parametrize('shuffle', [True, False])
@pytest.mark.parametrize('epoch', [0, 5])
def test_the_order_is_mmengines(shuffle, epoch):
    ours, theirs = (
        kind(range(20), shuffle=shuffle, seed=3) for kind in (ViewSampler, DefaultSampler)
    )
    ours.set_epoch(epoch)
    theirs.set_epoch(epoch)
    assert list(ours) == [ViewKey(3, epoch, sample) for sample in theirs]


def test_views_come_again_in_turn():
    sampler = ViewSampler(range(5), seed=0, num_views=3)
    views = []
    for epoch in range(7):
        sampler.set_epoch(epoch)
        views.append(next(iter(sampler)).view)
    assert views == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize('views', [0, -1, 1.5, 'all'])
def test_bad_number_of_views(views):
    with pytest.raises(ValueError, match=f'at least 1 or None, but is {views!r}'):
        ViewSampler(range(5), seed=0, num_views=views)
