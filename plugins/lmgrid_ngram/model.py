"""The n-gram model as a grid runs it: counts, estimates, scores, and is kept on disk."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmgrid.spec import Progress, Recipe, Sizes
from lmgrid_ngram import storage
from lmgrid_ngram.count import count
from lmgrid_ngram.smoothing import Evidence, estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmgrid.spec import LogProbs, Tokens
    from lmgrid_ngram.backoff import BackoffModel
    from lmgrid_ngram.parts import NGram


GLANCE = 20_000  # tokens of the training text scored for the loss on it


class NGramError(ValueError):
    """An n-gram model cannot be made as asked; the message says why and what to do."""


class NGramModel:
    """An n-gram language model over ids 0 to ``vocabulary - 1``."""

    def __init__(self, options: NGram, vocabulary: int) -> None:
        self.options = options
        self.vocabulary = vocabulary
        self._fitted: BackoffModel | None = None

    @property
    def fitted(self) -> BackoffModel:
        """The estimated model; an error before ``fit`` or ``load``."""
        if self._fitted is None:
            raise NGramError("the n-gram model has counted nothing yet; call fit or load first")
        return self._fitted

    def fit(self, train: Tokens, recipe: Recipe) -> Generator[Progress, float | None, None]:
        """Count and estimate, then yield once, with the loss on the last of the text."""
        self.learn(train)
        yield Progress(tokens=len(train), train_nats=-float(self.score(train[:GLANCE]).mean()))

    def learn(self, train: Tokens) -> None:
        """Count and estimate."""
        tokens = check_tokens(train, self.vocabulary)
        if len(tokens) < 2:
            raise NGramError(
                f"the training text has {len(tokens)} tokens, too few to count; "
                "give at least one sentence"
            )
        counts = count(tokens, self.options.order, self.vocabulary)
        self._fitted = estimate(Evidence(tokens, counts), self.options)

    def score(self, tokens: Tokens) -> LogProbs:
        """Return ln p(tokens[i] | its sentence so far) for each i, shape (n,)."""
        return self.fitted.score(check_tokens(tokens, self.vocabulary))

    def next_log_probs(self, context: Tokens) -> LogProbs:
        """Return ln p(v | context) for each id v, shape (V,)."""
        tokens = check_tokens(context, self.vocabulary)
        with np.errstate(divide="ignore"):
            logs: LogProbs = np.log(self.fitted.next_probabilities([tokens])[0])
        return logs

    def sizes(self) -> Sizes:
        """Return how many n-grams, with what they weigh on disk and in memory."""
        arrays = storage.arrays(self.fitted).values()
        return Sizes(sum(map(len, arrays)), sum(array.nbytes for array in arrays))

    def save(self, folder: Path) -> None:
        storage.save(self.fitted, folder)

    def load(self, folder: Path) -> None:
        self._fitted = storage.load(folder)


def check_tokens(tokens: Tokens, vocabulary: int) -> NDArray[np.int32]:
    """Return the tokens as a plain array, or raise where one is not an id of the vocabulary."""
    ids = np.asarray(tokens, dtype=np.int32)
    if ids.ndim != 1:
        raise NGramError(f"tokens must have one dimension, not {ids.ndim}")
    if len(ids) and (ids.min() < 0 or ids.max() >= vocabulary):
        where = int(np.flatnonzero((ids < 0) | (ids >= vocabulary))[0])
        raise NGramError(
            f"token {where} has id {ids[where]}, outside the vocabulary of {vocabulary}; "
            "encode the text with the vocabulary of this model"
        )
    return ids
