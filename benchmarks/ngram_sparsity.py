"""Prints the lecture's n-gram pages as numbers, for the embedded corpus.

    python -m lmgrid_benchmarks.ngram_sparsity

For each order: the share of the test text's n-grams that never occur in the training text
(sparsity), distinct n-grams and bytes (storage), and perplexity under modified Kneser-Ney; then
the likeliest words after a context, and a sampled text.
"""

from __future__ import annotations

import numpy as np

from lmgrid.spec import Tokens
from lmgrid_ngram.counting.count import count
from lmgrid_ngram.counting.encoder import Encoder, by_frequency
from lmgrid_ngram.model import NGramModel
from lmgrid_ngram.parts import NGramPart
from lmgrid_ngram.scoring.backoff import BackoffModel
from lmgrid_ngram.text_model import TextModel

from .ngram_texts import king_james

CONTEXT = "and the children of"


def main() -> None:
    """Print a markdown table, then words and text."""
    train_text, test_text = king_james()
    encoder = Encoder()
    tokens = encoder.learn(train_text)
    words, tokens = by_frequency(encoder.words(), tokens)
    test = Encoder(words).encode(test_text)
    print("| order | test n-grams never seen | distinct n-grams | bytes | test perplexity |")
    print("|---:|---:|---:|---:|---:|")
    for order in range(1, 8):
        model = NGramModel(NGramPart(order=order), len(words))
        model.learn(tokens)
        share, nats = unseen(model.fitted, test, len(words)), -model.score(test).mean()
        distinct, size = len(model.fitted.levels[-1].nodes), model.sizes().bytes
        print(f"| {order} | {share:.1%} | {distinct:,} | {size:,} | {np.exp(nats):.1f} |")
    _say(TextModel.learn(train_text, NGramPart(order=5)))


def unseen(model: BackoffModel, test: Tokens, vocabulary: int) -> float:
    """Return the share of a text's n-grams of the model's order that the model does not have.

    Counted as they occur, not as types; unknown words count as never seen.
    """
    levels = count(test, model.order, vocabulary).levels
    nodes = np.arange(vocabulary, dtype=np.int32)  # of the model, for each n-gram of the test
    known = model.levels[0].nodes.words > 0
    for ours, level in zip(model.levels[1:], levels[1:], strict=True):
        parents = level.nodes.parents()
        found, hit = ours.nodes.locate(nodes[parents], level.nodes.words)
        known = hit & known[parents]
        nodes = np.where(known, found, 0)
    return 1 - float(levels[-1].counts[known].sum() / levels[-1].counts.sum())


def _say(model: TextModel) -> None:
    print(f"\nAfter {CONTEXT!r}:\n")
    for word, p in model.predict(CONTEXT, top=5):
        print(f"    {p:.3f} {word}")
    print("\nSampled, order 5:\n")
    for line in model.sample(80, seed=0).splitlines():
        print(f"    {line}")


if __name__ == "__main__":
    main()
