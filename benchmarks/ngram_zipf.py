"""Writes generated Zipfian text, the same for the same seed.

python -m lmgrid_benchmarks.ngram_zipf 20000000 zipf.txt
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

TYPES = 200_000
EXPONENT = 1.05  # of the rank; natural text has about 1
SENTENCE = 25  # tokens, its end included, on average
LETTERS = "etaoinshrdlucmfwypvb"
BLOCK = 1_000_000


def zipf_text(tokens: int, seed: int = 20) -> bytes:
    """Return so many tokens, line ends included, as text with a sentence a line."""
    random = np.random.default_rng(seed)
    weights = 1 / np.arange(1, TYPES + 1) ** EXPONENT
    bounds = np.cumsum(weights) / weights.sum()
    words = np.array([b"\n", *(spell(rank) + b" " for rank in range(1, TYPES + 1))], object)
    parts = []
    for low in range(0, tokens, BLOCK):
        size = min(BLOCK, tokens - low)
        ranks = np.minimum(np.searchsorted(bounds, random.random(size)) + 1, TYPES)
        ranks[random.random(size) < 1 / SENTENCE] = 0
        if low + size == tokens:
            ranks[-1] = 0
        parts.append(b"".join(words[ranks]))
    return b"".join(parts)


def spell(rank: int) -> bytes:
    """Return a word for a rank, shorter for more frequent ones."""
    letters = ""
    while rank:
        rank, digit = divmod(rank, len(LETTERS))
        letters += LETTERS[digit]
    return letters.encode()


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(zipf_text(int(sys.argv[1])))
