"""How much each count gives up for what was not seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FALLBACK = (0.5, 1.0, 1.5)  # KenLM's, where the text is too small or too even to tell


def counts_of_counts(counts: NDArray[np.int32], top: int) -> Floats:
    """Return n[r], how many n-grams have the count r, for r from 0 to ``top``."""
    n = np.zeros(top + 1)
    for low in range(0, len(counts), 1 << 18):
        part = np.minimum(counts[low : low + (1 << 18)], top + 1)
        n += np.bincount(part, minlength=top + 2)[:-1]
    return n


def modified(n: Floats) -> Floats:
    """Return D(0), D(1), D(2), D(3 and more) from counts of counts up to 4.

    Chen and Goodman 1998, equation 26. Where n1, n2 or n3 is zero, or a discount D(c) lies outside
    0 to c, all three are KenLM's fallback. Like KenLM, D(3) = 3 is taken where n4 is zero.
    """
    if (n[1:4] == 0).any():
        return np.array([0.0, *FALLBACK])
    y = n[1] / (n[1] + 2 * n[2])
    c = np.arange(1, 4)
    d = c - (c + 1) * y * n[2:5] / n[1:4]
    if (d < 0).any() or (d > c).any():
        return np.array([0.0, *FALLBACK])
    return np.array([0.0, *d])


def single(n: Floats) -> float:
    """Return the one discount of Ney, Essen and Kneser 1994: n1 / (n1 + 2 n2), else 0.5."""
    if n[1] == 0 or n[2] == 0:
        return FALLBACK[0]
    return float(n[1] / (n[1] + 2 * n[2]))
