"""Discounts of counts, estimated from counts of counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FALLBACK = (0.5, 1.0, 1.5)  # KenLM's, for texts too small or too even to estimate from
RELIABLE = 5  # counts above it are not discounted by Katz
BLOCK = 1 << 16


def counts_of_counts(counts: NDArray[np.int32]) -> Floats:
    """Return n[r], how many n-grams have the count r, for r from 0 to RELIABLE + 1."""
    top = RELIABLE + 1
    n = np.zeros(top + 2)
    for low in range(0, len(counts), BLOCK):
        n += np.bincount(np.minimum(counts[low : low + BLOCK], top + 1), minlength=top + 2)
    return n[:-1]


def modified(n: Floats) -> Floats:
    """Return D(0), D(1), D(2), D(3 and more).

    Chen and Goodman 1998, equation 26. If n1, n2 or n3 is zero, or a discount D(c) lies outside 0
    to c, all three are KenLM's fallback. As in KenLM, D(3) = 3 if n4 is zero.
    """
    if (n[1:4] == 0).any():
        return np.array([0.0, *FALLBACK])
    y = n[1] / (n[1] + 2 * n[2])
    c = np.arange(1, 4)
    d = c - (c + 1) * y * n[2:5] / n[1:4]
    if (d < 0).any() or (d > c).any():
        return np.array([0.0, *FALLBACK])
    return np.array([0.0, *d])


def absolute(n: Floats) -> Floats:
    """Return the discounts of a count of 0 and of higher ones, d = n1 / (n1 + 2 n2), else 1/2.

    Ney, Essen and Kneser 1994.
    """
    d = n[1] / (n[1] + 2 * n[2]) if n[1] and n[2] else FALLBACK[0]
    return np.array([0.0, d])


def good_turing(n: Floats) -> Floats | None:
    """Return the discounts of counts 0 to 5 and above (Katz 1987); None if n allows none.

    With r* = (r + 1) n[r + 1] / n[r] and A = 6 n[6] / n[1], a count r keeps
    r (r* / r - A) / (1 - A).
    """
    r = np.arange(1, RELIABLE + 1)
    if (n[1:] == 0).any():
        return None
    a = (RELIABLE + 1) * n[RELIABLE + 1] / n[1]
    if a >= 1:
        return None
    ratio = ((r + 1) * n[2:] / n[1:-1] / r - a) / (1 - a)
    if (ratio <= 0).any() or (ratio >= 1).any():
        return None
    return np.array([0.0, *(r - ratio * r), 0.0])
