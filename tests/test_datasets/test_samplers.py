"""Keys: a new view each epoch, in MMEngine's order, shared out among ranks."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.dataset import DefaultSampler

from aekt_mm.datasets import ViewSampler
from aekt_mm.structures import ViewKey

pytestmark = pytest.mark.stack


def keys(sampler, epoch):
    sampler.set_epoch(epoch)
    return list(sampler)


@settings(deadline=None)
@given(
    length=st.integers(1, 30),
    epoch=st.integers(0, 20),
    views=st.none() | st.integers(1, 5),
    shuffle=st.booleans(),
)
def test_the_order_is_mmengines_and_the_view_is_the_epoch(length, epoch, views, shuffle):
    options = dict(shuffle=shuffle, seed=3)
    found = keys(ViewSampler(range(length), num_views=views, **options), epoch)
    order = keys(DefaultSampler(range(length), **options), epoch)
    view = epoch if views is None else epoch % views
    assert found == [ViewKey(seed=3, view=view, sample=sample) for sample in order]


def test_views_may_be_shared_by_seeds_whose_order_differs():
    first, second = (keys(ViewSampler(range(9), seed=seed, view_seed=5), 2) for seed in (0, 1))
    assert first != second
    assert set(first) == set(second) == {ViewKey(5, 2, sample) for sample in range(9)}


@pytest.mark.parametrize('round_up', [True, False])
def test_two_ranks_share_what_one_has(monkeypatch, round_up):
    alone = keys(ViewSampler(range(7), seed=0), 4)
    ranks = []
    for rank in range(2):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, 2))
        sampler = ViewSampler(range(7), seed=0, round_up=round_up)
        ranks.append(keys(sampler, 4))
        assert len(sampler) == len(ranks[-1])
    assert ranks[0] == alone[0::2]
    assert ranks[1][:3] == alone[1::2]
    assert ranks[1][3:] == (alone[:1] if round_up else [])  # to as many as the other has


def test_by_default_the_seed_is_the_same_on_all_ranks(monkeypatch):
    monkeypatch.setattr('mmengine.dataset.sampler.sync_random_seed', lambda: 123)
    assert keys(ViewSampler(range(2), shuffle=False), 0)[1] == ViewKey(123, 0, 1)


@pytest.mark.parametrize('views', [0, -1, 1.5, '2'])
def test_another_number_of_views_is_refused(views):
    with pytest.raises(ValueError, match=f'num_views must be .*, but is {views!r}'):
        ViewSampler(range(3), num_views=views)
