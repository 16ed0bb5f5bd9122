"""Student's interval of a mean: of figures by seed or split, and of paired differences between methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

__all__ = ["student_interval"]


def student_interval(values: Sequence[float], *, confidence: float = 0.95) -> tuple[float, float] | None:
    """Interval of the mean, ``None`` for fewer than two values.

    >>> low, high = student_interval([1.0, 2.0, 3.0])
    >>> round(low, 2), round(high, 2)
    (-0.48, 4.48)
    """
    from scipy.stats import t

    count = len(values)
    if count < 2:
        return None
    half = float(t.ppf((1 + confidence) / 2, count - 1)) * stdev(values) / math.sqrt(count)
    return fmean(values) - half, fmean(values) + half
