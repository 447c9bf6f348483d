"""Intervals, against tables and worked examples."""

from __future__ import annotations

import math

import pytest

from lmgrid.report.statistics import mean_interval


@pytest.mark.parametrize(("count", "t"), [(2, 12.706), (3, 4.303), (5, 2.776), (31, 2.042)])
def test_the_interval_is_students(count: int, t: float) -> None:
    """Half of it is t(0.975, n - 1), as tables print it, times the standard error."""
    values = [(-1.0) ** i for i in range(count)]
    mean = sum(values) / count
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (count - 1))
    interval = mean_interval(values)
    assert interval.mean == pytest.approx(mean)
    assert interval.half_width == pytest.approx(t * spread / math.sqrt(count), rel=2e-4)


def test_the_interval_by_hand() -> None:
    """Of 1, 2, 3: mean 2, standard error 1/√3, t(0.975, 2) = 4.30265."""
    interval = mean_interval([1.0, 2.0, 3.0])
    assert interval.mean == 2.0
    assert interval.half_width == pytest.approx(4.30265 / math.sqrt(3), rel=1e-5)


@pytest.mark.parametrize(
    ("values", "mean"), [([], math.nan), ([3.0], 3.0), ([1.0, math.inf], math.inf)]
)
def test_too_few_values_have_no_interval(values: list[float], mean: float) -> None:
    """One seed, or a perplexity of infinity, gives a mean and no interval."""
    interval = mean_interval(values)
    assert interval.mean == pytest.approx(mean, nan_ok=True)
    assert math.isnan(interval.half_width)


def test_equal_values_have_an_interval_of_nothing() -> None:
    """No spread, no width."""
    assert mean_interval([2.5, 2.5, 2.5]).half_width == 0.0
