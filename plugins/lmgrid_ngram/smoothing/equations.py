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
class Families:
    """Counts of j n-grams, grouped by their i contexts."""

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


def relative(families: Families) -> Smoothed:
    """c(hw) / c(h), with no backoff mass (maximum likelihood)."""
    return Smoothed(families.c / families.spread(families.total), np.zeros(len(families.total)))


def lidstone(families: Families, delta: float, vocabulary: int) -> Smoothed:
    """(c(hw) + delta) / (c(h) + delta V) (Lidstone)."""
    total = families.sum(families.c) + delta * vocabulary
    return Smoothed((families.c + delta) / families.spread(total), delta * vocabulary / total)


def discounted(families: Families, lost: Floats) -> Smoothed:
    """(c(hw) - lost[c]) / c(h); the last discount in ``lost`` is for all higher counts."""
    gone = lost.take(families.c.astype(np.intp), mode="clip")
    total = families.total
    return Smoothed((families.c - gone) / families.spread(total), families.sum(gone) / total)


def good_turing(families: Families, lost: Floats, fallback: Floats) -> Smoothed:
    """The discounts of Katz; the fallback's for a context that they leave no backoff mass."""
    katz, other = discounted(families, lost), discounted(families, fallback)
    none = katz.backoff_mass <= 0
    kept = np.where(none.take(families.parents), other.probability, katz.probability)
    return Smoothed(kept, np.where(none, other.backoff_mass, katz.backoff_mass))


def witten_bell(families: Families) -> Smoothed:
    """c(hw) / (c(h) + T(h)), where T(h) is the number of different words seen after h."""
    different = families.sum(families.c > 0)
    total = np.maximum(families.sum(families.c) + different, 1)
    return Smoothed(families.c / families.spread(total), different / total)


def weighted(families: Families, weights: Floats) -> Smoothed:
    """lambda(h) c(hw) / c(h), where lambda depends on ``bucket(c(h))`` only."""
    share = weights.take(bucket(families.total), mode="clip")
    return Smoothed(families.c / families.spread(families.total / share), 1 - share)


def bucket(total: Floats) -> NDArray[np.intp]:
    """Return the class of each context: floor(log2 c(h))."""
    return np.log2(np.maximum(total, 1)).astype(np.intp)


# ---------------------------------------------------------------- combining two orders


def interpolate(families: Families, shares: Smoothed) -> Smoothed:
    """p(w | h) = smoothed(hw) + backoff_mass(h) p(w | h'), for seen and unseen words."""
    kept, freed = shares.probability, shares.backoff_mass
    if families.dropped is not None:
        freed = freed + families.sum(np.where(families.dropped, kept, 0.0))
        kept = np.where(families.dropped, 0.0, kept)
    return Smoothed(kept + families.spread(freed) * families.lower, freed)


def back_off(families: Families, shares: Smoothed) -> Smoothed:
    """p(w | h) = smoothed(hw) for seen words, alpha(h) p(w | h') for the others (Katz 1987).

    If the lower order gives unseen words no probability, that of the seen words is scaled to one.
    """
    seen = families.c > 0
    if families.dropped is not None:
        seen &= ~families.dropped
    kept = np.where(seen, shares.probability, 0.0)
    room = 1 - families.sum(np.where(seen, families.lower, 0.0))
    whole = families.sum(kept)
    closed = (room < 1e-9) & (whole > 0)
    alpha = np.where(closed, 0.0, (1 - whole) / np.where(room < 1e-9, 1.0, room))
    kept = kept / families.spread(np.where(closed, whole, 1.0))
    return Smoothed(np.where(seen, kept, families.spread(alpha) * families.lower), alpha)
