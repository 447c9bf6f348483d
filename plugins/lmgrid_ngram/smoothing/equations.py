"""The equations of the smoothings, for one order at a time.

c is the count of an n-gram hw; summed over w it is the total of the context h. A smoothing says
which share of the probability after h each seen word keeps, and which share is freed for the lower
order: together they are one. h' is h without its first word.
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
    """Counts of n-grams, j of them, grouped by their i contexts."""

    c: Ids  # (j,)
    starts: Ids  # (i + 1,) the words after context i are starts[i]:starts[i + 1]
    lower: Floats  # (j,) p(w | h')
    dropped: Bools | None = None  # (j,) n-grams that the model shall not keep

    @cached_property
    def bounds(self) -> NDArray[np.intp]:
        """The starts in the type of an index: of others, ``take`` is five times slower."""
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
        """Return each context's value for each word after it, shape (j,)."""
        return values.take(self.parents)


@dataclass(frozen=True)
class Smoothed:
    """How the probability after each context is divided."""

    probability: Floats  # (j,) of each seen word, shape of the n-grams of this order
    backoff_mass: Floats  # (i,) left to the lower order after each context


# ---------------------------------------------------------------- what seen words keep


def relative(families: Families) -> Smoothed:
    """c(hw) / c(h): nothing is freed."""
    return Smoothed(families.c / families.spread(families.total), np.zeros(len(families.total)))


def lidstone(families: Families, delta: float, vocabulary: int) -> Smoothed:
    """(c(hw) + delta) / (c(h) + delta V)."""
    total = families.sum(families.c) + delta * vocabulary
    return Smoothed((families.c + delta) / families.spread(total), delta * vocabulary / total)


def discounted(families: Families, lost: Floats) -> Smoothed:
    """(c(hw) - lost(c)) / c(h). ``lost[r]`` is for the count r, the last entry for all above."""
    gone = lost.take(families.c.astype(np.intp), mode="clip")
    total = families.total
    return Smoothed((families.c - gone) / families.spread(total), families.sum(gone) / total)


def good_turing(families: Families, lost: Floats, fallback: Floats) -> Smoothed:
    """The discounts of Katz; a context that they free nothing in takes those of the fallback."""
    katz, other = discounted(families, lost), discounted(families, fallback)
    none = katz.backoff_mass <= 0
    kept = np.where(none.take(families.parents), other.probability, katz.probability)
    return Smoothed(kept, np.where(none, other.backoff_mass, katz.backoff_mass))


def witten_bell(families: Families) -> Smoothed:
    """c(hw) / (c(h) + T(h)), with T the number of different words seen after h."""
    different = families.sum(families.c > 0)
    total = np.maximum(families.sum(families.c) + different, 1)
    return Smoothed(families.c / families.spread(total), different / total)


def weighted(families: Families, weights: Floats) -> Smoothed:
    """lambda(h) c(hw) / c(h); lambda depends on the size of c(h), see ``bucket``."""
    share = weights.take(bucket(families.total), mode="clip")
    return Smoothed(families.c / families.spread(families.total / share), 1 - share)


def bucket(total: Floats) -> NDArray[np.intp]:
    """Return the class of a context: how often its total can be halved."""
    return np.log2(np.maximum(total, 1)).astype(np.intp)


# ---------------------------------------------------------------- two orders become one


def interpolate(families: Families, shares: Smoothed) -> Smoothed:
    """p(w | h) = kept(hw) + freed(h) p(w | h'), for seen and unseen words alike."""
    kept, freed = shares.probability, shares.backoff_mass
    if families.dropped is not None:
        freed = freed + families.sum(np.where(families.dropped, kept, 0.0))
        kept = np.where(families.dropped, 0.0, kept)
    return Smoothed(kept + families.spread(freed) * families.lower, freed)


def back_off(families: Families, shares: Smoothed) -> Smoothed:
    """p(w | h) = kept(hw) for seen words, alpha(h) p(w | h') for the others (Katz 1987).

    Where the lower order leaves nothing to words unseen after h, the seen ones take all.
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
