"""Comparison of two class numberings by class name."""

from collections.abc import Sequence


def numbered_otherwise(theirs: Sequence[str], ours: Sequence[str]) -> int | None:
    """Return the first number whose class differs between the two sides.

    Where no name is shared the sides may only call their classes differently, and nothing is known.

    Args:
        theirs: Names in the order of their numbers.
        ours: The same of the other side.

    Examples:
        >>> numbered_otherwise(['ant', 'bee', 'cat'], ['ant', 'cat', 'bee'])
        1
        >>> numbered_otherwise(['n01', 'n02'], ['ant', 'bee']) is None
        True
    """
    both = set(theirs) & set(ours)
    pairs = enumerate(zip(theirs, ours))
    return next((k for k, (a, b) in pairs if a != b and (a in both or b in both)), None)
