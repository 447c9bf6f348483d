"""Intervals and corrections, against tables and worked examples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lmgrid.report.statistics import (
    VarianceEstimate,
    holm,
    mean_interval,
    pooled_variance,
    welch_p_value,
)


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


def test_the_paired_test_on_students_own_data() -> None:
    """Student (1908), hours of sleep gained by two drugs: t = 4.0621, 9 degrees, p = 0.002833."""
    one = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
    two = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])
    gaps = one - two
    part = VarianceEstimate(float(gaps.var(ddof=1)) / 10, 9)
    assert welch_p_value(float(gaps.mean()), [part]) == pytest.approx(0.002833, abs=5e-7)
    assert welch_p_value(-float(gaps.mean()), [part]) == pytest.approx(0.002833, abs=5e-7)


def test_two_parts_are_welchs_test() -> None:
    """With the variances of two means, it is Welch's (1947) t test, as SciPy has it."""
    one, two = [19.8, 20.4, 19.6, 17.8, 18.5], [28.2, 26.6, 20.1, 23.3, 25.2, 22.1, 17.7]
    parts = [
        VarianceEstimate(float(np.var(s, ddof=1)), len(s) - 1).of_mean(len(s)) for s in (one, two)
    ]
    expected = stats.ttest_ind(one, two, equal_var=False).pvalue
    assert welch_p_value(float(np.mean(one) - np.mean(two)), parts) == pytest.approx(expected)


@pytest.mark.parametrize(("gap", "p"), [(0.0, 1.0), (0.1, 0.0)])
def test_without_variance_a_gap_is_certain(gap: float, p: float) -> None:
    """Equal values differ in nothing, a constant gap is certain."""
    assert welch_p_value(gap, [VarianceEstimate(0.0, 3)]) == p


def test_a_pooled_variance_by_hand() -> None:
    """(0.5 + 2) / 2 of two pairs with gaps 1 and 2; one value alone tells nothing."""
    assert pooled_variance([[1.0, 2.0], [5.0, 7.0], [9.0]]) == VarianceEstimate(1.25, 2)
    assert pooled_variance([[1.0]]) == VarianceEstimate(0.0, 0)


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


@pytest.mark.parametrize(("lines", "seeds"), [(2, 3), (6, 2), (6, 3)])
def test_equal_models_are_told_apart_about_one_time_in_twenty(lines: int, seeds: int) -> None:
    """Lines of one true loss, with noise of the text and of the seed: p < 5 % in 3 to 8 of 100."""
    rng = np.random.default_rng(3)
    blocks, draws = 50, 1_500
    told_apart = 0
    for _ in range(draws):
        by_seed = rng.normal(0, 0.01, (lines, seeds))
        gaps = rng.normal(0, 0.07, blocks) + by_seed[0].mean() - by_seed[1].mean()
        text = VarianceEstimate(float(gaps.var(ddof=1)) / blocks, blocks - 1)
        seed = pooled_variance(by_seed.tolist()).of_mean(seeds)
        told_apart += welch_p_value(float(gaps.mean()), [text, seed, seed]) < 0.05
    assert 0.03 < told_apart / draws < 0.08
