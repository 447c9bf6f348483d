"""The texts that the n-gram benchmarks run on; as a script it writes the generated one to a file.

Use: python -m lmgrid_benchmarks.ngram_texts 20000000 zipf.txt
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from lmgrid.spec import Place
from lmgrid.text import pretokenize
from lmgrid_text.kjv import KingJames

TYPES = 200_000
EXPONENT = 1.05  # of the rank; natural text has about 1
SENTENCE = 25  # tokens, its end included, on average
LETTERS = "etaoinshrdlucmfwypvb"
BLOCK = 1_000_000


def king_james() -> tuple[bytes, bytes]:
    """Return the training and the test text of the embedded corpus, words set apart."""
    with tempfile.TemporaryDirectory() as folder:
        raw = KingJames().read(Place(Path(folder), Path(folder)))
    train, test = ("\n".join(map(pretokenize, t.split("\n"))) for t in (raw.train, raw.test))
    return train.encode(), test.encode()


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
