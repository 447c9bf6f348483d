"""Makes the texts that the n-gram benchmarks run on: the King James Bible, and generated text.

As a script, it writes generated text to a file:

    python -m lmgrid_benchmarks.ngram_texts 20000000 zipf.txt
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmgrid.spec import Place
from lmgrid.vocabulary import EOS, pretokenize
from lmgrid.zipf import zipf_ranks
from lmgrid_text.kjv import KingJamesPart

if TYPE_CHECKING:
    from numpy.typing import NDArray

TYPES = 200_000
EXPONENT = 1.05  # of the rank in Zipf's law; natural text has about 1
SENTENCE = 25  # mean tokens of a sentence, its end included
LETTERS = "etaoinshrdlucmfwypvb"
BLOCK = 1_000_000  # tokens that are generated at once


def king_james() -> tuple[bytes, bytes]:
    """Return the training and the test text of the embedded corpus, with punctuation separated."""
    with tempfile.TemporaryDirectory() as folder:
        raw = KingJamesPart().read(Place(Path(folder), Path(folder)))
    train, test = ("\n".join(map(pretokenize, t.split("\n"))) for t in (raw.train, raw.test))
    return train.encode(), test.encode()


def zipf_ids(tokens: int, seed: int = 20) -> NDArray[np.int32]:
    """Return ids of generated text, shape (tokens,): 1 ends a sentence, rank r has id r + 1."""
    random = np.random.default_rng(seed)
    ids = np.empty(tokens, np.int32)
    for low in range(0, tokens, BLOCK):
        block = ids[low : low + BLOCK]
        block[:] = zipf_ranks(random, TYPES, len(block), exponent=EXPONENT) + 2
        block[random.random(len(block)) < 1 / SENTENCE] = EOS
    ids[-1] = EOS
    return ids


def zipf_text(tokens: int, seed: int = 20) -> bytes:
    """Return generated text with one sentence in each line; line ends count as tokens."""
    words = np.array([b"", b"\n", *(spell(r) + b" " for r in range(1, TYPES + 1))], object)
    ids = zipf_ids(tokens, seed)
    blocks = (ids[low : low + BLOCK] for low in range(0, tokens, BLOCK))
    return b"".join(b"".join(words[block]) for block in blocks)


def spell(rank: int) -> bytes:
    """Return the word of a rank; more frequent words are shorter.

    >>> spell(1), spell(100)
    (b't', b'en')
    """
    letters = ""
    while rank:
        rank, digit = divmod(rank, len(LETTERS))
        letters += LETTERS[digit]
    return letters.encode()


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(zipf_text(int(sys.argv[1])))
