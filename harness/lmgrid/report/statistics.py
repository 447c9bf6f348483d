"""Confidence intervals of means, computed with SciPy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and the half-width of its confidence interval; NaN where there is no interval."""

    mean: float
    half_width: float


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean of independent values with its 95 % interval by Student's t distribution.

    One value, or values that are not all finite, have a mean and no interval.

    >>> interval = mean_interval([1.0, 2.0, 3.0])
    >>> round(interval.mean, 2), round(interval.half_width, 2)
    (2.0, 2.48)
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) == 0:
        return Interval(math.nan, math.nan)
    if not np.isfinite(array).all():
        return Interval(float(array.mean()), math.nan)
    if len(array) == 1:
        return Interval(float(array[0]), math.nan)
    standard_error = float(stats.sem(array))
    return Interval(float(array.mean()), standard_error * _t_quantile(len(array)))


def _t_quantile(count: int) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1))
