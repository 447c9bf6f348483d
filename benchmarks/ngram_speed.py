"""Measures the speed of the n-gram models, as ratios to NumPy's sort, to kenlm and to nltk.

    python -m lmgrid_benchmarks.ngram_speed kjv             the embedded corpus, 0.8 M tokens
    python -m lmgrid_benchmarks.ngram_speed zipf 20000000   generated text
    python -m lmgrid_benchmarks.ngram_speed nltk            nltk.lm, order 3, the embedded corpus

Times are CPU seconds of this process, on one core: the minimum over five rounds, each of which
measures everything once. The unit of estimation is one ``np.sort`` of tokens x 5 random uint64.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np

from lmgrid_ngram.parts import NGramPart
from lmgrid_ngram.text_model import TextModel

from .ngram_texts import king_james, zipf_text

ORDER, ROUNDS = 5, 5


def main(what: str, tokens: int) -> None:
    """Print the measurements of ``kjv``, ``zipf`` (a text of ``tokens`` tokens) or ``nltk``."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    train, test = _texts(what, tokens)
    if what == "nltk":
        _against_nltk(train, test)
        return
    with tempfile.TemporaryDirectory() as folder:
        _estimate(train, Path(folder))
        _score(train, test, Path(folder))


def _texts(what: str, tokens: int) -> tuple[bytes, bytes]:
    if what == "zipf":
        return zipf_text(tokens, seed=20), zipf_text(min(tokens // 10, 200_000), seed=21)
    return king_james()


def _minimum(tasks: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the minimum CPU seconds of each task over rounds that run every task once."""
    best = dict.fromkeys(tasks, float("inf"))
    for _ in range(ROUNDS):
        for name, task in tasks.items():
            start = process_time()
            task()
            best[name] = min(best[name], process_time() - start)
    return best


def _estimate(train: bytes, folder: Path) -> None:
    def build() -> None:
        TextModel.learn(train, NGramPart(order=ORDER)).save(folder)

    build()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    tokens = train.count(b"\n") + len(train.split())
    numbers = np.random.default_rng(0).integers(0, 2**63, tokens * ORDER, dtype=np.uint64)
    sort = _minimum({"sort": lambda: np.sort(numbers), "build": build})
    model = TextModel.load(folder)
    arpa = _minimum({"ARPA": lambda: model.write_arpa(folder / "model.arpa"), "build": build})
    print(f"{tokens} tokens, order {ORDER}, modified Kneser-Ney")
    print(f"np.sort of tokens x {ORDER}              {sort['sort']:8.3f} s")
    print(f"text to saved model               {sort['build']:8.3f} s")
    print(f"  as sorts                        {sort['build'] / sort['sort']:8.2f}")
    print(f"  peak memory                     {peak:8.2f} GB")
    print(f"writing ARPA                      {arpa['ARPA']:8.3f} s")
    print(f"  as text to saved model          {arpa['ARPA'] / arpa['build']:8.2f}")


def _score(train: bytes, test: bytes, folder: Path) -> None:
    import kenlm

    model = TextModel.load(folder)
    _ = model.model.tables  # build the hash tables now, as kenlm does when it loads
    peer = kenlm.Model(str(folder / "model.arpa"))
    lines = test.decode().removesuffix("\n").split("\n")
    ids = model.encoder.encode(test)
    ours = model.model.score(ids).sum() / np.log(10)
    assert abs(ours - sum(map(peer.score, lines))) < 1e-5 * len(ids), "the scores differ"
    best = _minimum(
        {
            "kenlm": lambda: [peer.score(line) for line in lines],
            "text": lambda: model.score(test),
            "ids": lambda: model.model.score(ids),
        }
    )
    for name, seconds in best.items():
        rate, ratio = len(ids) / seconds / 1e6, best["kenlm"] / seconds
        print(f"scoring, {name:5}                {rate:8.2f} M tokens/s {ratio:6.2f} x kenlm")


def _against_nltk(train: bytes, test: bytes) -> None:
    from nltk.lm import KneserNeyInterpolated
    from nltk.lm.preprocessing import padded_everygram_pipeline

    sentences = [line.split() for line in train.decode().split("\n")]
    start = process_time()
    peer = KneserNeyInterpolated(3)
    peer.fit(*padded_everygram_pipeline(3, sentences))
    theirs = process_time() - start
    ours = _minimum({"fit": lambda: TextModel.learn(train, NGramPart(order=3))})["fit"]
    print(f"fit, order 3: nltk {theirs:.1f} s, lmgrid {ours:.3f} s: {theirs / ours:.0f} x faster")
    words = ["<s>", "<s>", *test.decode().split()[:20]]
    start = process_time()
    for i in range(2, len(words)):
        peer.score(words[i], words[i - 2 : i])
    theirs = (process_time() - start) / (len(words) - 2)
    model = TextModel.learn(train, NGramPart(order=3))
    count = len(model.score(test))
    ours = _minimum({"score": lambda: model.score(test)})["score"] / count
    print(f"Kneser-Ney scoring: nltk {1 / theirs:.0f} tokens/s, lmgrid {1 / ours:.0f}: ", end="")
    print(f"{theirs / ours:.0f} x faster")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0)
