"""Compares modified Kneser-Ney with KenLM's perplexities on WikiText-2.

    python -m lmgrid_benchmarks.ngram_kenlm wikitext-2.zip

The zip file holds train.txt and test.txt. Every line is a sentence, blank lines too; ``<unk>`` in
the text is replaced by the ordinary word ``[unk]``. The exit status is 1 if the perplexity of some
order differs from KenLM's by more than 2e-4, relative to it.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import numpy as np

from lmgrid_ngram.parts import NGramPart
from lmgrid_ngram.text_model import TextModel

KENLM = {2: 263.960, 3: 226.051, 4: 221.344, 5: 220.139}  # lmplz -o N, no pruning
TOLERANCE = 2e-4


def main() -> int:
    """Print KenLM's perplexity of each order and ours, without and with ``kenlm_quirk``.

    Returns the exit status.
    """
    with zipfile.ZipFile(Path(sys.argv[1])) as archive:
        train, test = (
            archive.read(f"{split}.txt").replace(b"<unk>", b"[unk]") for split in ("train", "test")
        )
    worst = 0.0
    print("order      KenLM      ours   relative   with quirk   relative")
    for order, expected in KENLM.items():
        ours, quirky = (
            perplexity(train, test, order=order, quirk=quirk) for quirk in (False, True)
        )
        off, quirk_off = ours / expected - 1, quirky / expected - 1
        print(f"{order:5}{expected:11.3f}{ours:10.3f}{off:11.1e}{quirky:13.3f}{quirk_off:11.1e}")
        worst = max(worst, abs(off))
    return int(worst > TOLERANCE)


def perplexity(train: bytes, test: bytes, *, order: int, quirk: bool) -> float:
    """Return the test perplexity of modified Kneser-Ney."""
    model = TextModel.learn(train, NGramPart(order=order, kenlm_quirk=quirk))
    return float(np.exp(-model.score(test).mean()))


if __name__ == "__main__":
    sys.exit(main())
