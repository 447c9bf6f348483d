"""Provides tests of the language model protocol, for the authors of plugins to inherit.

See ``LanguageModelContract`` for an example.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from lmgrid.budget import Budget
from lmgrid.spec import (
    Context,
    LanguageModel,
    ModelPart,
    OptimizerPart,
    Predicts,
    Recipe,
    RegularizerPart,
    Sized,
    Stored,
    Tokens,
)
from lmgrid.vocabulary import EOS, Vocabulary
from lmgrid.zipf import zipf_ranks

SMALL, LARGE = 12, 1_000
TOLERANCE = 1e-5  # nats; allows for single precision and another order of summation
PLACES = (*range(70), 80, 96, 99, 100, 128, 200, 250, 256, 500, 512, 1_000, 1_024, 2_000, 2_048)
EACH_VOCABULARY = pytest.mark.parametrize("size", [SMALL, LARGE])


def sample_tokens(size: int, seed: int, count: int = 4_000) -> Tokens:
    """Return ``count`` ids, int32, with Zipfian frequencies; half are determined by the last id."""
    rng = np.random.default_rng(seed)
    draws = zipf_ranks(rng, types=size, size=count)
    follows = rng.random(count) < 0.5
    draws[1:][follows[1:]] = (draws[:-1][follows[1:]] * 7 + 3) % size
    return draws.astype(np.int32)


def sample_vocabulary(size: int) -> Vocabulary:
    """Return a vocabulary of ``size`` word types: ``<unk>``, ``<eos>``, ``w2``, ``w3``, …"""
    return Vocabulary(("<unk>", "<eos>", *(f"w{i}" for i in range(2, size))))


@lru_cache(maxsize=64)
def fit_sample(
    case: Case, size: int, seed: int = 0, *, score_between: bool = False
) -> LanguageModel:
    """Return a model trained for two epochs on a sample of ``size`` token types."""
    part, optimizer, regularizers = case
    train = sample_tokens(size, seed=1)
    train.setflags(write=False)  # as when it is mapped from the cache
    counts = np.bincount(train, minlength=size)
    context = Context(
        vocabulary=sample_vocabulary(size), counts=counts, seed=seed, device="cpu", cache=_scratch()
    )
    recipe = Recipe(
        optimizer.make(context) if optimizer else None,
        tuple(r.make(context) for r in regularizers),
        seed=seed,
        budget=Budget(epochs=2) if part.budgeted else None,
        point_interval=1_000,
    )
    model = part.make(context)
    with closing(model.fit(train, recipe)) as training:
        for progress in training:
            if score_between:
                model.score(train[:50])
            if progress.tokens >= 2 * len(train):
                break
    return model


Case = tuple[ModelPart, OptimizerPart | None, tuple[RegularizerPart, ...]]


@lru_cache(maxsize=1)
def _scratch() -> Path:
    return Path(tempfile.mkdtemp(prefix="lmgrid-contract-"))


class LanguageModelContract:
    """Tests that a model keeps the ``LanguageModel`` protocol. Inherit it and set ``part``.

    A model that is trained by gradient needs an ``optimizer`` part too, and may have
    ``regularizers``. Tests of optional methods (``next_log_probs``, ``save``, ``sizes``) are
    skipped for a model without them. Each model is fitted on random ids of 12 and of 1000 types::

        from lmgrid.testing import LanguageModelContract
        from lmgrid_mine import MinePart

        class TestMine(LanguageModelContract):
            part = MinePart(order=3)
    """

    part: ModelPart
    optimizer: OptimizerPart | None = None
    regularizers: tuple[RegularizerPart, ...] = ()
    stream = 3_000  # tokens to score; more than the model scores in one batch of chunks

    def fitted(self, size: int, seed: int = 0) -> LanguageModel:
        """Return the model fitted on a sample of ``size`` types; it is fitted once and reused."""
        return fit_sample(self._case(), size, seed)

    def _case(self) -> Case:
        return self.part, self.optimizer, self.regularizers

    def _predicting(self, size: int) -> Predicts:
        model = self.fitted(size)
        if not isinstance(model, Predicts):
            pytest.skip("the model has no next_log_probs")
        return model

    @pytest.fixture(autouse=True)
    def _one_thread(self) -> Iterator[None]:
        """Use one thread: on a busy machine several make small operations many times slower."""
        with threadpool_limits(1):
            yield

    @EACH_VOCABULARY
    @pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, None])
    def test_scores_each_token_once(self, size: int, count: int | None) -> None:
        """There is one score per token, also at the end, and none above 0 if normalised."""
        count = self.stream + 17 if count is None else count
        scores = self.fitted(size).score(sample_tokens(size, seed=2, count=count))
        assert scores.shape == (count,)
        assert scores.dtype == np.float64
        assert not np.isnan(scores).any()
        if self.part.normalised:
            assert (scores <= TOLERANCE).all()

    @pytest.mark.parametrize(
        ("size", "length"), [*((SMALL, n) for n in (0, 1, 3, 40, 100)), (LARGE, 1)]
    )
    def test_probabilities_sum_to_one(self, size: int, length: int) -> None:
        """The probabilities of the next token sum to 1, by ``score`` and by ``next_log_probs``."""
        if not self.part.sums_to_one:
            pytest.skip("the part sets sums_to_one to False")
        context = sample_tokens(size, seed=3, count=length)
        model = self.fitted(size)
        last = [model.score(np.append(context, v).astype(np.int32))[-1] for v in range(size)]
        assert np.exp(last).sum() == pytest.approx(1, abs=1e-5)
        if isinstance(model, Predicts):
            assert np.exp(model.next_log_probs(context)).sum() == pytest.approx(1, abs=1e-5)

    @EACH_VOCABULARY
    @pytest.mark.parametrize("length", [0, 1, 3, 40, 1_000])
    def test_says_what_comes_next(self, size: int, length: int) -> None:
        """``next_log_probs`` returns one value per type and agrees with ``score``."""
        context = sample_tokens(size, seed=3, count=length)
        model, said = self.fitted(size), self._predicting(size).next_log_probs(context)
        assert said.shape == (size,)
        assert said.dtype == np.float64
        for v in range(0, size, max(1, size // 12)):
            score = model.score(np.append(context, v).astype(np.int32))[-1]
            assert said[v] == pytest.approx(score, abs=TOLERANCE)

    @EACH_VOCABULARY
    def test_never_looks_ahead(self, size: int) -> None:
        """Changing the tokens after a position leaves the scores before it unchanged."""
        tokens = sample_tokens(size, seed=4, count=self.stream)
        scores = self.fitted(size).score(tokens)
        for start in (1, 7, 64, self.stream // 2, self.stream - 1):
            other = tokens.copy()
            other[start:] = (other[start:] + 5) % size
            got = self.fitted(size).score(other)[:start]
            np.testing.assert_allclose(got, scores[:start], atol=TOLERANCE)

    @EACH_VOCABULARY
    def test_a_prefix_scores_the_same(self, size: int) -> None:
        """``score(x)[:k] == score(x[:k])``, also across the model's own batches."""
        tokens = sample_tokens(size, seed=5, count=self.stream)
        scores = self.fitted(size).score(tokens)
        for k in (1, 2, 35, 63, 64, 65, 1_000, self.stream - 1):
            got = self.fitted(size).score(tokens[:k])
            np.testing.assert_allclose(got, scores[:k], atol=TOLERANCE)

    @EACH_VOCABULARY
    def test_remembers_what_it_read(self, size: int) -> None:
        """``score`` agrees with ``next_log_probs``, also after a long context."""
        tokens = sample_tokens(size, seed=6, count=self.stream)
        scores = self.fitted(size).score(tokens)
        model = self._predicting(size)
        for k in (*PLACES, self.stream - 1):
            said = model.next_log_probs(tokens[:k])[tokens[k]]
            assert said == pytest.approx(scores[k], abs=TOLERANCE)

    @EACH_VOCABULARY
    def test_sees_eos_before_the_first_token(self, size: int) -> None:
        """The first token is scored as if ``<eos>`` came before it."""
        model = self.fitted(size)
        tokens = sample_tokens(size, seed=7, count=3)
        again = model.score(np.concatenate(([EOS], tokens)).astype(np.int32))
        assert model.score(tokens).shape == again[1:].shape
        if not self.part.by_gradient:
            np.testing.assert_allclose(again[1:], model.score(tokens), atol=TOLERANCE)

    @EACH_VOCABULARY
    def test_a_seed_repeats_bitwise(self, size: int) -> None:
        """Two models fitted with the same seed give the same scores bit for bit."""
        tokens = sample_tokens(size, seed=8, count=500)
        again = fit_sample.__wrapped__(self._case(), size)
        assert np.array_equal(again.score(tokens), self.fitted(size).score(tokens))

    def test_the_seed_matters_unless_it_says_not(self) -> None:
        """The seed changes the scores unless the part sets ``deterministic``."""
        tokens = sample_tokens(SMALL, seed=9, count=500)
        one, two = (self.fitted(SMALL, seed).score(tokens) for seed in (0, 1))
        assert np.array_equal(one, two) == self.part.deterministic

    @EACH_VOCABULARY
    def test_scoring_leaves_no_trace(self, size: int) -> None:
        """Scoring twice gives equal scores; scoring during training does not change it."""
        tokens = sample_tokens(size, seed=10, count=500)
        model = self.fitted(size)
        scores = model.score(tokens)
        assert np.array_equal(model.score(tokens), scores)
        watched = fit_sample(self._case(), size, score_between=True)
        assert np.array_equal(watched.score(tokens), scores)

    @EACH_VOCABULARY
    def test_scoring_changes_no_argument(self, size: int) -> None:
        """``score`` does not modify its tokens, which may be read-only."""
        tokens = sample_tokens(size, seed=11, count=200)
        before = tokens.copy()
        tokens.setflags(write=False)
        self.fitted(size).score(tokens)
        assert np.array_equal(tokens, before)

    @EACH_VOCABULARY
    def test_a_saved_model_scores_the_same(self, size: int, tmp_path: Path) -> None:
        """A model that is saved and loaded again gives the same scores bit for bit."""
        model = self.fitted(size)
        if not isinstance(model, Stored):
            pytest.skip("the model has no save and load")
        tokens = sample_tokens(size, seed=12, count=500)
        model.save(tmp_path)
        fresh = self._unfitted(size)
        assert isinstance(fresh, Stored)
        fresh.load(tmp_path)
        assert np.array_equal(fresh.score(tokens), model.score(tokens))

    def _unfitted(self, size: int) -> LanguageModel:
        counts = np.bincount(sample_tokens(size, seed=1), minlength=size)
        return self.part.make(
            Context(
                vocabulary=sample_vocabulary(size),
                counts=counts,
                seed=99,
                device="cpu",
                cache=_scratch(),
            )
        )

    @EACH_VOCABULARY
    def test_learns_something(self, size: int) -> None:
        """On its training text, the mean loss is at least 5 % below that of a uniform guess."""
        scores = self.fitted(size).score(sample_tokens(size, seed=1, count=1_000))
        finite = scores[np.isfinite(scores)]
        assert -finite.mean() < 0.95 * np.log(size)

    @EACH_VOCABULARY
    def test_says_how_large_it_is(self, size: int) -> None:
        """``sizes`` of a fitted model are at least one parameter and one byte."""
        model = self.fitted(size)
        if not isinstance(model, Sized):
            pytest.skip("the model has no sizes")
        assert model.sizes().parameters >= 1
        assert model.sizes().bytes >= 1
