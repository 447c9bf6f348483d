"""Intervals, paired tests and corrections; SciPy does the arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and how far its confidence interval reaches to each side; NaN for one value."""

    mean: float
    half: float


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean with Student's t interval at 95 %, from independent values."""
    array = np.asarray(values, dtype=np.float64)
    if len(array) == 0:
        return Interval(math.nan, math.nan)
    if not np.isfinite(array).all():
        return Interval(float(array.mean()), math.nan)
    if len(array) == 1:
        return Interval(float(array[0]), math.nan)
    spread = float(stats.sem(array))
    return Interval(float(array.mean()), spread * _t(len(array)))


def _t(count: int) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1))


def paired_p_value(one: Sequence[float], two: Sequence[float]) -> float:
    """Return the p-value of Student's paired t test that two means are equal.

    NaN where nothing can be said: unlike lengths, fewer than two pairs, a value not finite.
    """
    if len(one) != len(two):
        return math.nan
    gaps: NDArray[np.float64] = np.asarray(one) - np.asarray(two)
    if len(gaps) < 2 or not np.isfinite(gaps).all():
        return math.nan
    if np.ptp(gaps) == 0:
        return 1.0 if gaps[0] == 0 else 0.0
    return 2 * float(stats.t.sf(abs(gaps.mean()) / stats.sem(gaps), len(gaps) - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's (1979) adjusted p-values, for as many comparisons as there are."""
    adjusted = [math.nan] * len(p_values)
    order = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    largest = 0.0
    for rank, (p, i) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        adjusted[i] = largest
    return adjusted
