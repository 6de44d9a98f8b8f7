"""Views: randomness is a function of (seed, view, sample) and of nothing else."""

import random

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from aekt_mm.structures import draw, seeded, view_keys

MASK = 2**64 - 1
counts = st.integers(0, 2**40)


def splitmix64(state):
    """Steele et al. (2014), in Python's unbounded integers."""
    state = (state + 0x9E3779B97F4A7C15) & MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


@given(seed=counts, view=counts, sample=counts, number=st.integers(0, 50))
def test_is_splitmix64(seed, view, sample, number):
    key = splitmix64(splitmix64(splitmix64(seed) ^ view) ^ sample)
    ours = view_keys(seed, view, torch.tensor([sample]))
    assert ours.item() & MASK == key
    mixed = splitmix64((key + (number + 1) * 0x9E3779B97F4A7C15) & MASK)
    assert draw(ours, number).item() == (mixed >> 11) / 2**53


@given(samples=st.lists(st.integers(0, 10**6), min_size=1, max_size=20), data=st.data())
def test_does_not_depend_on_the_rest_of_the_batch(samples, data):
    keys = view_keys(3, 7, torch.tensor(samples))
    index = data.draw(st.integers(0, len(samples) - 1))
    alone = view_keys(3, 7, torch.tensor([samples[index]]))
    assert draw(keys, 2)[index] == draw(alone, 2)[0]


def test_draws_are_uniform_and_independent():
    samples = torch.arange(100_000)
    draws = [
        draw(view_keys(seed, view, samples), number)
        for seed, view, number in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0))
    ]
    for values in draws:
        assert values.min() >= 0
        assert values.max() < 1
        shares = torch.histc(values.float(), 10, 0, 1) / len(values)
        torch.testing.assert_close(shares, torch.full((10,), 0.1), rtol=0, atol=0.005)
    correlations = torch.corrcoef(torch.stack(draws)) - torch.eye(4, dtype=torch.float64)
    assert correlations.abs().max() < 0.02


def generators():
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_seeded_follows_from_the_key_and_restores():
    generators()
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    with seeded(-5):
        first = generators()
    with seeded(-5):
        assert generators() == first
    with seeded(6):
        assert generators() != first
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
