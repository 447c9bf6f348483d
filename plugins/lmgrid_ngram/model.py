"""The n-gram language model of a grid: counts, estimates, scores, and can be saved."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

from lmgrid.spec import CountingModel, Sizes
from lmgrid_ngram.counting.arrays import DiskStore, MemoryStore
from lmgrid_ngram.counting.count import count
from lmgrid_ngram.counting.merge import count_in_runs
from lmgrid_ngram.scoring import storage
from lmgrid_ngram.smoothing.estimators import TrainingCounts, estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmgrid.spec import LogProbs, Tokens
    from lmgrid_ngram.parts import NGramPart
    from lmgrid_ngram.scoring.backoff import BackoffModel


class NGramError(ValueError):
    """An n-gram model cannot be made or used as asked; the message says why and what to do."""


class BackoffLanguageModel(CountingModel):
    """A language model over ids 0 to ``vocabulary - 1`` that scores with a backoff model.

    A subclass defines ``learn``, which sets ``_fitted``.
    """

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary
        self._fitted: BackoffModel | None = None

    @property
    def fitted(self) -> BackoffModel:
        """The estimated model; NGramError before ``fit`` or ``load``."""
        if self._fitted is None:
            raise NGramError("the n-gram model has not been fitted; call fit or load first")
        return self._fitted

    def score(self, tokens: Tokens) -> LogProbs:
        """Return ln p(tokens[i] | the words before it in its sentence) for each i, shape (n,)."""
        return self.fitted.score(check_tokens(tokens, self.vocabulary))

    def next_log_probs(self, context: Tokens) -> LogProbs:
        """Return ln p(v | context) for each id v, shape (V,); -inf for a probability of zero."""
        tokens = check_tokens(context, self.vocabulary)
        with np.errstate(divide="ignore"):
            logs: LogProbs = np.log(self.fitted.next_probabilities([tokens])[0])
        return logs

    def sizes(self) -> Sizes:
        """Return how many numbers the model holds and how many bytes they take."""
        arrays = storage.arrays(self.fitted).values()
        return Sizes(sum(map(len, arrays)), sum(array.nbytes for array in arrays))

    def save(self, folder: Path) -> None:
        storage.save(self.fitted, folder)

    def load(self, folder: Path) -> None:
        self._fitted = storage.load(folder)


class NGramModel(BackoffLanguageModel):
    """An n-gram model that is counted and smoothed as its options say."""

    def __init__(self, options: NGramPart, vocabulary: int, folder: Path | None = None) -> None:
        super().__init__(vocabulary)
        self.options = options
        self.folder = folder or Path(tempfile.gettempdir())  # of counts too large for memory
        self._store: DiskStore | None = None  # of the arrays of a model made on disk

    def learn(self, train: Tokens) -> None:
        """Count and estimate, on disk if the counts do not fit in memory.

        Raises NGramError for a text of fewer than two tokens, and if writing counts to disk fails.
        """
        tokens = check_tokens(train, self.vocabulary)
        if len(tokens) < 2:
            raise NGramError(
                f"the training text has {len(tokens)} tokens, too few to count; "
                "give at least one sentence"
            )
        budget = memory_budget(self.options.memory)
        if len(tokens) * bytes_per_token(self.options.order) <= budget:
            counts = count(tokens, self.options.order, self.vocabulary)
            self._fitted = estimate(TrainingCounts(tokens, counts, MemoryStore()), self.options)
        else:
            self._learn_on_disk(tokens, budget)

    def _learn_on_disk(self, tokens: Tokens, budget: int) -> None:
        options = self.options
        try:
            self._store = DiskStore(self.folder)
            counts = count_in_runs(
                tokens,
                options.order,
                self.vocabulary,
                run_length=max(budget // bytes_per_token(options.order), 2),
                store=self._store,
            )
            self._fitted = estimate(TrainingCounts(tokens, counts, self._store), options)
        except OSError as error:
            if self._store:
                self._store.close()
            raise NGramError(
                f"counting in {self.folder} failed: {error.strerror}; it needs about "
                f"{len(tokens) * bytes_per_token(options.order) >> 20} MB there, or the option "
                "memory set higher"
            ) from error

    def close(self) -> None:
        """Drop the model, and remove the files of one made on disk."""
        self._fitted = None
        if self._store:
            self._store.close()


def check_tokens(tokens: Tokens, vocabulary: int) -> NDArray[np.int32]:
    """Return the tokens as an array; NGramError if one is not an id of the vocabulary."""
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


def memory_budget(megabytes: int | None) -> int:
    """Return how many bytes counting may take; by default a quarter of the machine's memory."""
    return psutil.virtual_memory().total // 4 if megabytes is None else megabytes << 20


def bytes_per_token(order: int) -> int:
    """Return about how many bytes counting and estimating take per token if few n-grams repeat.

    Sorting takes the text and two buffers of eight bytes per token. Each order takes word, count,
    suffix, first child, probability and backoff weight, four bytes each.
    """
    return 24 + 20 * order
