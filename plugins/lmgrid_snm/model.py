"""The sparse non-negative matrix model of a grid: counts, adjusts, scores, and can be saved."""

from __future__ import annotations

from collections.abc import Generator
from itertools import count as naturals
from pathlib import Path
from typing import TYPE_CHECKING

from lmgrid.spec import FIRST_STEPS, Progress, Recipe, Sizes
from lmgrid_snm.adjustment import Adjustment
from lmgrid_snm.index import Template, count
from lmgrid_snm.matrix import Matrix, load
from lmgrid_snm.metafeatures import Metafeatures

if TYPE_CHECKING:
    from lmgrid.spec import LogProbs, Tokens

LOSS_TOKENS = 20_000  # tokens of the training text scored for the loss on it, without an adjustment


class SNMError(ValueError):
    """The model cannot be used as asked; the message says why and what to do."""


class SNMModel:
    """A sparse non-negative matrix model over ids 0 to ``vocabulary - 1``.

    The matrix is computed when the model first scores after a training step. That takes about a
    tenth of the time of a pass over the text, outside the training clock.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        templates: tuple[Template, ...],
        metafeatures: Metafeatures,
        adjusted: bool,
        rate: float,
        batch: int,
    ) -> None:
        """``adjusted``: whether the adjustment is trained, with batches of ``batch`` tokens."""
        self.vocabulary, self.templates, self.metafeatures = vocabulary, templates, metafeatures
        self.adjusted, self.rate, self.batch = adjusted, rate, batch
        self._adjustment: Adjustment | None = None
        self._matrix: Matrix | None = None

    @property
    def matrix(self) -> Matrix:
        """The matrix under the current weights; SNMError before ``fit`` or ``load``."""
        if self._matrix is None:
            if self._adjustment is None:
                raise SNMError("the SNM model has not been fitted; call fit or load first")
            self._matrix = self._adjustment.matrix()
        return self._matrix

    def fit(self, train: Tokens, recipe: Recipe) -> Generator[Progress, float | None, None]:
        """Count, then train the adjustment without end; without one, yield once.

        A batch is every k-th token of the text, so each batch covers all of the text and no seed is
        needed. The loss of a token is its Poisson loss minus one. It equals -ln p if the sum of y
        over all words is one, and is larger otherwise. Raises SNMError for an empty text.
        """
        self._adjustment = self._count(train)
        self._matrix = None
        if not self.adjusted:
            yield Progress(len(train), -float(self.score(train[:LOSS_TOKENS]).mean()))
            return
        batches = -(-len(train) // self.batch)
        seen, since, loss = 0, 0, 0.0
        first: list[tuple[int, float]] = []
        for i in naturals():
            batch = slice(i % batches, None, batches)
            step_loss = self._adjustment.step(batch)
            self._matrix = None
            before, seen, loss = seen, seen + len(train[batch]), loss + step_loss
            if i + 1 in FIRST_STEPS:
                first.append((i + 1, step_loss / (seen - before) - 1))
            crossed = seen // recipe.point_interval > before // recipe.point_interval
            if crossed or i % batches == batches - 1:
                yield Progress(seen, loss / (seen - since) - 1, losses=tuple(first))
                since, loss, first = seen, 0.0, []

    def _count(self, train: Tokens) -> Adjustment:
        if not len(train):
            raise SNMError("the train split is empty: there is nothing to count")
        counted = count(train, self.templates, self.vocabulary)
        return Adjustment(counted, metafeatures=self.metafeatures, rate=self.rate)

    def score(self, tokens: Tokens) -> LogProbs:
        """Return ln p(tokens[i] | the words before it in its sentence) for each i, shape (n,)."""
        return self.matrix.score(tokens)

    def next_log_probs(self, context: Tokens) -> LogProbs:
        """Return ln p(v | context) for each id v, shape (V,)."""
        return self.matrix.distribution(context)

    def sizes(self) -> Sizes:
        """Return the number of links plus one, and the bytes of keys, weights and sums."""
        matrix = self.matrix
        keys = sum(array.nbytes for array in (*matrix.index.features, *matrix.index.links))
        return Sizes(len(matrix.weights) + 1, keys + matrix.weights.nbytes + matrix.sums.nbytes)

    def save(self, folder: Path) -> None:
        self.matrix.save(folder)

    def load(self, folder: Path) -> None:
        self._matrix = load(folder)
