"""Views: an augmentation is a function of (seed, view, sample) and of nothing else.

A sample's view is one deterministic draw of its augmentation. Its randomness comes from a hash of
its key, not from a generator with a state, so that it is the same for any number of workers and
ranks, after a resume, and when a teacher's logits for it were computed long ago.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

GOLDEN = -0x61C8864680B583EB  # the constants of splitmix64 as signed integers
MIX_1 = -0x40A7B892E31B1A47
MIX_2 = -0x6B2FB644ECCEEE15
WORD = 2**64 - 1

_numpy_random: Any = np.random  # its stub lacks two of its functions
_SPARES: list[np.random.MT19937] = []  # which kept_generators() lends to numpy


class ViewKey(NamedTuple):
    """The key of a view: it seeds all of the sample's augmentation."""

    seed: int
    view: int
    sample: int


def one_view(keys: Sequence[ViewKey]) -> tuple[int, int, Tensor]:
    """Return seed and view of a batch and its samples, (N,) int64.

    Raises:
        ValueError: If the views are not one.
    """
    seed, view, _ = keys[0]
    if any(key[:2] != (seed, view) for key in keys):
        raise ValueError('the samples of a batch must have one seed and be in one view')
    return seed, view, torch.tensor([key.sample for key in keys])


def view_keys(seed: int, view: int, sample: Tensor) -> Tensor:
    """Hash views to the numbers that their randomness is drawn from.

    Args:
        seed: The run's, within int64.
        view: The number of the view.
        sample: Indices in the dataset, (N,) int64.

    Returns:
        (N,) int64, the same on every device.
    """
    return _mix(_hash(seed, view) ^ sample)


def view_key(seed: int, view: int, sample: int) -> int:
    """Hash one view, to the number that :func:`view_keys` has for it, where time counts.

    Examples:
        >>> view_key(5, 3, 8) == view_keys(5, 3, torch.tensor([8])).item()
        True
    """
    return _mix_number(_hash(seed, view) ^ int(sample))


def draw(keys: Tensor, count: int) -> Tensor:
    """Return the first draws of each view, all independent and uniform in [0, 1).

    Args:
        keys: (N,) int64 from :func:`view_keys`.
        count: How many of each view.

    Returns:
        (count, N) float64, multiples of 2^-53, the same on every device.

    Examples:
        >>> keys = view_keys(seed=0, view=3, sample=torch.arange(4))
        >>> torch.equal(draw(keys, 2)[:, 1:], draw(keys[1:], 2))
        True
    """
    steps = torch.arange(1, count + 1, device=keys.device)[:, None]
    return _shift_right(_mix(keys + steps * GOLDEN), 11).double() * 2.0**-53


@contextmanager
def kept_generators() -> Iterator[None]:
    """Restore Python's, numpy's and torch's generators after what is drawn from them in between.

    Numpy's generator is swapped for a spare one: to save its state takes longer than to decode a
    small image. Numpy draws normal numbers in pairs, and the unused half of a pair is lost.
    """
    python, numpy, torchs = (
        random.getstate(),
        _numpy_random.get_bit_generator(),
        torch.get_rng_state(),
    )
    spare = _SPARES.pop() if _SPARES else np.random.MT19937()
    _numpy_random.set_bit_generator(spare)
    try:
        yield
    finally:
        random.setstate(python)
        _numpy_random.set_bit_generator(numpy)
        torch.set_rng_state(torchs)
        _SPARES.append(spare)


def seed_generators(key: int) -> None:
    """Let Python's, numpy's and torch's generators follow from a key of :func:`view_keys`."""
    random.seed(key)
    np.random.seed(key % 2**32)
    torch.default_generator.manual_seed(key % 2**63)


@contextmanager
def seeded(key: int) -> Iterator[None]:
    """Let the generators follow from a key, and restore them after."""
    with kept_generators():
        seed_generators(key)
        yield


@lru_cache
def _hash(seed: int, view: int) -> int:
    """All samples of an epoch share it."""
    return _mix_number(_mix_number(seed) ^ view)


def _mix_number(x: int) -> int:
    """Compute :func:`_mix` of one number, as int64 has it."""
    x = (x + GOLDEN) & WORD
    x = (x ^ (x >> 30)) * MIX_1 & WORD
    x = (x ^ (x >> 27)) * MIX_2 & WORD
    x ^= x >> 31
    return x - ((x >> 63) << 64)


def _mix(x: Tensor) -> Tensor:
    """Finalise as splitmix64 does (Steele et al., 2014), in wrapping 64-bit arithmetic."""
    x = x + GOLDEN
    x = (x ^ _shift_right(x, 30)) * MIX_1
    x = (x ^ _shift_right(x, 27)) * MIX_2
    return x ^ _shift_right(x, 31)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Shift in zeros: torch shifts in the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
