"""Confidence intervals of paired differences."""

from collections.abc import Sequence

import numpy as np
from scipy import stats


def paired_interval(differences: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return the mean of paired differences and half the width of its confidence interval.

    Args:
        differences: (N,), one a seed.
        confidence: Of the interval, Student's t with N - 1 degrees of freedom.

    Returns:
        Mean and half width; NaN where N does not allow them.

    Examples:
        >>> mean, half = paired_interval([1.0, 2.0, 3.0])
        >>> f'{mean:.2f} ± {half:.2f}'
        '2.00 ± 2.48'
    """
    values = np.asarray(differences, dtype=float)
    count = len(values)
    mean = values.mean() if count else float('nan')
    if count < 2:
        return mean, float('nan')
    error = values.std(ddof=1) / np.sqrt(count)
    return mean, stats.t.ppf((1 + confidence) / 2, count - 1) * error
