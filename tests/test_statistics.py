"""Intervals and corrections, against tables and worked examples."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmgrid.statistics import holm, mean_interval, paired_p_value


@pytest.mark.parametrize(("count", "t"), [(2, 12.706), (3, 4.303), (5, 2.776), (31, 2.042)])
def test_the_interval_is_students(count: int, t: float) -> None:
    """Half of it is t(0.975, n - 1), as tables print it, times the standard error."""
    values = [(-1.0) ** i for i in range(count)]
    mean = sum(values) / count
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (count - 1))
    interval = mean_interval(values)
    assert interval.mean == pytest.approx(mean)
    assert interval.half == pytest.approx(t * spread / math.sqrt(count), rel=2e-4)


def test_the_interval_by_hand() -> None:
    """Of 1, 2, 3: mean 2, standard error 1/√3, t(0.975, 2) = 4.30265."""
    interval = mean_interval([1.0, 2.0, 3.0])
    assert interval.mean == 2.0
    assert interval.half == pytest.approx(4.30265 / math.sqrt(3), rel=1e-5)


@pytest.mark.parametrize(
    ("values", "mean"), [([], math.nan), ([3.0], 3.0), ([1.0, math.inf], math.inf)]
)
def test_too_few_values_have_no_interval(values: list[float], mean: float) -> None:
    """One seed, or a perplexity of infinity, gives a mean and no interval."""
    interval = mean_interval(values)
    assert interval.mean == pytest.approx(mean, nan_ok=True)
    assert math.isnan(interval.half)


def test_equal_values_have_an_interval_of_nothing() -> None:
    """No spread, no width."""
    assert mean_interval([2.5, 2.5, 2.5]).half == 0.0


def test_the_paired_test_on_students_own_data() -> None:
    """Student (1908), hours of sleep gained by two drugs: t = 4.0621, 9 degrees, p = 0.002833."""
    one = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    two = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    assert paired_p_value(one, two) == pytest.approx(0.002833, abs=5e-7)
    assert paired_p_value(two, one) == pytest.approx(0.002833, abs=5e-7)


@pytest.mark.parametrize(
    ("one", "two", "p"),
    [
        ([1.0, 2.0], [1.0, 2.0], 1.0),
        ([1.0, 2.0], [2.0, 3.0], 0.0),
        ([1.0], [2.0], math.nan),
        ([1.0, math.inf], [2.0, 3.0], math.nan),
    ],
)
def test_the_paired_test_where_it_says_nothing(
    one: list[float], two: list[float], p: float
) -> None:
    """Equal values differ in nothing, a constant gap is certain, one pair tells nothing."""
    assert paired_p_value(one, two) == pytest.approx(p, nan_ok=True)


def test_nearly_constant_gaps_are_silent() -> None:
    """Gaps that differ by rounding alone give a p-value near 0 and no warning."""
    assert paired_p_value([1.1, 2.1, 3.1], [1.0, 2.0, 3.0]) < 1e-20


def test_holm_by_hand() -> None:
    """0.01 · 4, then 0.02 · 3, then 0.03 · 2 held up to 0.06, then 0.04 held up to 0.06."""
    assert holm([0.02, 0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.06, 0.04, 0.06])


def test_holm_as_r_computes_it() -> None:
    """p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm") is 0.05, 0.08, 0.09, 0.09, 0.09."""
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])


def test_holm_counts_what_was_compared() -> None:
    """A comparison that could not be made is not counted and stays NaN."""
    assert holm([0.02, math.nan, 0.6]) == pytest.approx([0.04, math.nan, 0.6], nan_ok=True)
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_keeps_order_and_bounds(p_values: list[float]) -> None:
    """Adjusted values lie between the raw ones and 1, in the raw ones' order."""
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    pairs = sorted(zip(p_values, adjusted, strict=True))
    assert [q for _, q in pairs] == sorted(q for _, q in pairs)
