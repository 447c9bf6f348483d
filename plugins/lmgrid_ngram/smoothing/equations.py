"""The equations of the smoothings, for one order at a time.

c(hw) is the count of an n-gram hw; its sum over w is the total c(h) of the context h; h' is h
without its first word. A smoothing divides the probability after h between the seen words and the
lower order (the backoff mass); together they sum to one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids = NDArray[np.int32]
    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class GroupedCounts:
    """Counts of j n-grams of one order, grouped by their i contexts."""

    c: Ids  # (j,)
    starts: Ids  # (i + 1,) the words after context i are starts[i]:starts[i + 1]
    lower: Floats  # (j,) p(w | h')
    dropped: Bools | None = None  # (j,) n-grams to leave out of the model

    @cached_property
    def bounds(self) -> NDArray[np.intp]:
        """The starts as intp, since ``take`` is five times slower with other types."""
        return self.starts.astype(np.intp)

    @cached_property
    def parents(self) -> NDArray[np.intp]:
        """The context of each n-gram, shape (j,)."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    @cached_property
    def total(self) -> Floats:
        """The total of each context, at least 1, shape (i,)."""
        return np.maximum(self.sum(self.c), 1)

    def sum(self, values: NDArray[np.generic]) -> Floats:
        """Return the sum over the words after each context, shape (i,)."""
        sums = np.zeros(len(values) + 1)
        np.cumsum(values, out=sums[1:])
        bounds = sums.take(self.bounds)
        return bounds[1:] - bounds[:-1]

    def spread(self, values: Floats) -> Floats:
        """Return the value of each n-gram's context, shape (j,)."""
        return values.take(self.parents)


@dataclass(frozen=True)
class Smoothed:
    """How the probability after each context is divided."""

    probability: Floats  # (j,) of each seen word
    backoff_mass: Floats  # (i,) left to the lower order after each context


# ---------------------------------------------------------------- discounting


def relative(grouped: GroupedCounts) -> Smoothed:
    """c(hw) / c(h), with no backoff mass (maximum likelihood)."""
    return Smoothed(grouped.c / grouped.spread(grouped.total), np.zeros(len(grouped.total)))


def lidstone(grouped: GroupedCounts, delta: float, vocabulary: int) -> Smoothed:
    """(c(hw) + delta) / (c(h) + delta V) (Lidstone)."""
    total = grouped.sum(grouped.c) + delta * vocabulary
    return Smoothed((grouped.c + delta) / grouped.spread(total), delta * vocabulary / total)


def discounted(grouped: GroupedCounts, discounts: Floats) -> Smoothed:
    """(c(hw) - D(c)) / c(h); ``discounts`` is D by count, the last one for all higher counts."""
    d = discounts.take(grouped.c.astype(np.intp), mode="clip")
    total = grouped.total
    return Smoothed((grouped.c - d) / grouped.spread(total), grouped.sum(d) / total)


def good_turing(grouped: GroupedCounts, discounts: Floats, fallback: Floats) -> Smoothed:
    """The discounts of Katz; the fallback's for a context that they leave no backoff mass."""
    katz, other = discounted(grouped, discounts), discounted(grouped, fallback)
    none = katz.backoff_mass <= 0
    p = np.where(none.take(grouped.parents), other.probability, katz.probability)
    return Smoothed(p, np.where(none, other.backoff_mass, katz.backoff_mass))


def witten_bell(grouped: GroupedCounts) -> Smoothed:
    """c(hw) / (c(h) + T(h)), where T(h) is the number of different words seen after h."""
    different = grouped.sum(grouped.c > 0)
    total = np.maximum(grouped.sum(grouped.c) + different, 1)
    return Smoothed(grouped.c / grouped.spread(total), different / total)


def weighted(grouped: GroupedCounts, weights: Floats) -> Smoothed:
    """lambda(h) c(hw) / c(h), where lambda depends on ``bucket(c(h))`` only."""
    lambdas = weights.take(bucket(grouped.total), mode="clip")
    return Smoothed(grouped.c / grouped.spread(grouped.total / lambdas), 1 - lambdas)


def bucket(total: Floats) -> NDArray[np.intp]:
    """Return the class of each context: floor(log2 c(h))."""
    return np.log2(np.maximum(total, 1)).astype(np.intp)


# ---------------------------------------------------------------- combining two orders


def interpolate(grouped: GroupedCounts, smoothed: Smoothed) -> Smoothed:
    """p(w | h) = smoothed(hw) + backoff_mass(h) p(w | h'), for seen and unseen words."""
    p, mass = smoothed.probability, smoothed.backoff_mass
    if grouped.dropped is not None:
        mass = mass + grouped.sum(np.where(grouped.dropped, p, 0.0))
        p = np.where(grouped.dropped, 0.0, p)
    return Smoothed(p + grouped.spread(mass) * grouped.lower, mass)


def back_off(grouped: GroupedCounts, smoothed: Smoothed) -> Smoothed:
    """p(w | h) = smoothed(hw) for seen words, alpha(h) p(w | h') for the others (Katz 1987).

    If the lower order gives unseen words no probability, that of the seen words is scaled to one.
    """
    seen = grouped.c > 0
    if grouped.dropped is not None:
        seen &= ~grouped.dropped
    p = np.where(seen, smoothed.probability, 0.0)
    seen_mass = grouped.sum(p)
    unseen_lower = 1 - grouped.sum(np.where(seen, grouped.lower, 0.0))  # p of unseen words after h'
    none = unseen_lower < 1e-9
    scaled = none & (seen_mass > 0)
    alpha = np.where(scaled, 0.0, (1 - seen_mass) / np.where(none, 1.0, unseen_lower))
    p = p / grouped.spread(np.where(scaled, seen_mass, 1.0))
    return Smoothed(np.where(seen, p, grouped.spread(alpha) * grouped.lower), alpha)
