"""Prints how sparse and how large n-gram models are, for orders 1 to 7, on the embedded corpus.

    python -m lmgrid_benchmarks.ngram_sparsity

A table has, for each order, the share of the test text's n-grams that never occur in the training
text, the number of distinct n-grams, the bytes of the model, and the test perplexity of modified
Kneser-Ney. Below it are the most probable words after a context, and a sampled text.
"""

from __future__ import annotations

import numpy as np

from lmgrid.report.layout import Table
from lmgrid.report.render import to_markdown
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
    """Print the table in Markdown, then words and text."""
    train_text, test_text = king_james()
    encoder = Encoder()
    tokens = encoder.learn(train_text)
    words, tokens = by_frequency(encoder.words(), tokens)
    test = Encoder(words).encode(test_text)
    rows = []
    for order in range(1, 8):
        model = NGramModel(NGramPart(order=order), len(words))
        model.learn(tokens)
        share, nats = unseen(model.fitted, test, len(words)), -model.score(test).mean()
        distinct, size = len(model.fitted.levels[-1].nodes), model.sizes().bytes
        figures = f"{share:.1%}", f"{distinct:,}", f"{size:,}", f"{np.exp(nats):.1f}"
        rows.append((str(order), *figures))
    header = ("order", "test n-grams never seen", "distinct n-grams", "bytes", "test perplexity")
    table = Table(
        name="sparsity",
        title="",
        header=header,
        rows=tuple(rows),
        numeric_columns=len(header),
    )
    print(to_markdown(table, heading=False), end="")
    _print_samples(TextModel.learn(train_text, NGramPart(order=5)))


def unseen(model: BackoffModel, test: Tokens, vocabulary: int) -> float:
    """Return the share of a text's n-grams, of the model's order, that the model has not seen.

    Every occurrence counts; an n-gram with an unknown word counts as not seen.
    """
    levels = count(test, model.order, vocabulary).levels
    nodes = np.arange(vocabulary, dtype=np.int32)  # the model's node of each n-gram of the text
    known = model.levels[0].nodes.words > 0
    for ours, level in zip(model.levels[1:], levels[1:], strict=True):
        parents = level.nodes.parents()
        found, hit = ours.nodes.locate(nodes[parents], level.nodes.words)
        known = hit & known[parents]
        nodes = np.where(known, found, 0)
    return 1 - float(levels[-1].counts[known].sum() / levels[-1].counts.sum())


def _print_samples(model: TextModel) -> None:
    print(f"\nAfter {CONTEXT!r}:\n")
    for word, p in model.predict(CONTEXT, top=5):
        print(f"    {p:.3f} {word}")
    print("\nSampled, order 5:\n")
    for line in model.sample(80, seed=0).splitlines():
        print(f"    {line}")


if __name__ == "__main__":
    main()
