"""Confidence intervals, t tests and corrections for multiple comparisons, computed with SciPy."""

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


@dataclass(frozen=True)
class VarianceEstimate:
    """An estimated variance and its degrees of freedom; 0 degrees where there were no data."""

    variance: float
    degrees_of_freedom: int

    def of_mean(self, count: int) -> VarianceEstimate:
        """Return the estimated variance of the mean of ``count`` values."""
        return VarianceEstimate(self.variance / count, self.degrees_of_freedom)


def pooled_variance(samples: Sequence[Sequence[float]]) -> VarianceEstimate:
    """Return the variance within samples, which may have different means but share one variance.

    >>> pooled_variance([[1.0, 2.0], [5.0, 7.0]])
    VarianceEstimate(variance=1.25, degrees_of_freedom=2)
    """
    arrays = [np.asarray(sample, dtype=np.float64) for sample in samples]
    degrees_of_freedom = sum(len(array) - 1 for array in arrays)
    if not degrees_of_freedom:
        return VarianceEstimate(0.0, 0)
    squares = sum(float(((array - array.mean()) ** 2).sum()) for array in arrays)
    return VarianceEstimate(squares / degrees_of_freedom, degrees_of_freedom)


def welch_p_value(difference: float, variances: Sequence[VarianceEstimate]) -> float:
    """Return the two-sided p-value of the hypothesis that the true difference is zero.

    The variance of ``difference`` is the sum of ``variances``, which were estimated independently.
    The test is a t test with the degrees of freedom of Welch (1947) and Satterthwaite (1946).

    >>> round(welch_p_value(1.0, [VarianceEstimate(0.1, 10), VarianceEstimate(0.1, 10)]), 3)
    0.037
    """
    variance = sum(part.variance for part in variances)
    if variance == 0:
        return 1.0 if difference == 0 else 0.0
    degrees_of_freedom = variance**2 / sum(
        part.variance**2 / part.degrees_of_freedom for part in variances
    )
    return float(2 * stats.t.sf(abs(difference) / math.sqrt(variance), degrees_of_freedom))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for multiple comparisons by the method of Holm (1979).

    NaN marks a comparison that could not be made; it is not counted and stays NaN.

    >>> holm([0.01, 0.04])
    [0.02, 0.04]
    """
    adjusted = [math.nan] * len(p_values)
    order = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    largest = 0.0
    for rank, (p, i) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        adjusted[i] = largest
    return adjusted
