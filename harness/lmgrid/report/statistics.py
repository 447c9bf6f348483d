"""Intervals, paired tests and corrections; SciPy does the arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
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


@dataclass(frozen=True)
class Estimate:
    """An estimated variance and its degrees of freedom; none where there was nothing to see."""

    variance: float
    freedom: int

    def over(self, count: int) -> Estimate:
        """Return the variance of a mean of so many."""
        return Estimate(self.variance / count, self.freedom)


def pooled_variance(samples: Sequence[Sequence[float]]) -> Estimate:
    """Return the variance within samples of unlike means, assumed to be the same in all."""
    arrays = [np.asarray(sample, dtype=np.float64) for sample in samples]
    freedom = sum(len(array) - 1 for array in arrays)
    if not freedom:
        return Estimate(0.0, 0)
    squares = sum(float(((array - array.mean()) ** 2).sum()) for array in arrays)
    return Estimate(squares / freedom, freedom)


def zero_p_value(gap: float, parts: Sequence[Estimate]) -> float:
    """Return the two-sided p-value that a difference is zero.

    Its variance is a sum of independently estimated parts; t with the degrees of freedom of Welch
    and Satterthwaite.
    """
    variance = sum(part.variance for part in parts)
    if variance == 0:
        return 1.0 if gap == 0 else 0.0
    freedom = variance**2 / sum(part.variance**2 / part.freedom for part in parts)
    return float(2 * stats.t.sf(abs(gap) / math.sqrt(variance), freedom))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's (1979) adjusted p-values, for as many comparisons as there are."""
    adjusted = [math.nan] * len(p_values)
    order = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    largest = 0.0
    for rank, (p, i) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        adjusted[i] = largest
    return adjusted
