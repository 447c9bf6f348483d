"""What a split's score is made of, and what the runner counts while a model trains."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmgrid.budget import Budget
from lmgrid.cell.score import BLOCKS, ProtocolViolation, check_distribution, measure
from lmgrid.cell.training import BestWeights, BudgetTracker, Chosen, TrainingMeter, Usage
from lmgrid.machine.clock import Stopwatch
from lmgrid.machine.cpu import Processor
from lmgrid.result import Point, Score
from lmgrid.spec import Diverged, LogProbs, Progress, Tokens
from lmgrid.vocabulary import Split


def split(tokens: Any, characters: int = 100, size: int = 120) -> Split:
    return Split(np.asarray(tokens, dtype=np.int32), characters, size)


class Uniform:
    """Every word of the vocabulary is as probable as any other."""

    def __init__(self, size: int) -> None:
        self.size = size

    def fit(self, train: Tokens, recipe: Any) -> Any:
        raise AssertionError("not trained here")

    def score(self, tokens: Tokens) -> LogProbs:
        return np.full(len(tokens), -math.log(self.size))

    def next_log_probs(self, context: Tokens) -> LogProbs:
        return np.full(self.size, -math.log(self.size))


class Fixed(Uniform):
    """Scores what it was told."""

    def __init__(self, scores: Any) -> None:
        super().__init__(2)
        self.scores = np.asarray(scores)

    def score(self, tokens: Tokens) -> LogProbs:
        found: LogProbs = self.scores
        return found


def usage(tokens: int, seconds: float = 0.0) -> Usage:
    return Usage(tokens=tokens, seconds=seconds, cpu_seconds=seconds)


@pytest.mark.parametrize("size", [2, 50, 10_000])
def test_a_uniform_model_has_the_perplexity_of_its_vocabulary(size: int) -> None:
    """Perplexity is how many words it hesitates between."""
    score = measure(Uniform(size), split(np.arange(333) % size))
    assert score.perplexity == pytest.approx(size)
    assert score.known_perplexity == pytest.approx(size)


def test_a_score_by_hand() -> None:
    """Probabilities 1/2, 1/4, 1/8 (that one unknown), 1/2: 7 bits over 4 tokens."""
    score = measure(Fixed(np.log([1 / 2, 1 / 4, 1 / 8, 1 / 2])), split([2, 3, 0, 1], 14, 20))
    assert score.nats == pytest.approx(7 * math.log(2))
    assert score.perplexity == pytest.approx(2 ** (7 / 4))
    assert (score.unknown_tokens, score.unknown_rate) == (1, 0.25)
    assert score.known_perplexity == pytest.approx(2 ** (4 / 3))
    assert score.bits_per_character == pytest.approx(7 / 14)
    assert score.bits_per_byte == pytest.approx(7 / 20)
    assert score.zero_probability_tokens == 0


def test_zero_probabilities_are_counted() -> None:
    """The total is no number then, and the perplexity is infinite."""
    score = measure(Fixed([-1.0, -np.inf, -np.inf]), split([2, 0, 3]))
    assert score.zero_probability_tokens == 2
    assert score.nats is None
    assert score.known_nats is None
    assert math.isinf(score.perplexity)
    assert math.isinf(score.known_perplexity)
    assert math.isinf(score.bits_per_character)


def test_a_zero_for_an_unknown_leaves_the_known_ones() -> None:
    """Without unknowns the perplexity is finite."""
    score = measure(Fixed([-1.0, -np.inf]), split([2, 0]))
    assert score.nats is None
    assert score.known_perplexity == pytest.approx(math.e)


def test_a_split_of_unknowns_has_no_known_perplexity() -> None:
    """There is nothing to take a mean of."""
    assert math.isnan(measure(Fixed([-1.0]), split([0])).known_perplexity)


@given(st.integers(1, 500))
def test_blocks_cover_the_split(count: int) -> None:
    """At most fifty, in order, unlike by one token at most, and none lost."""
    logs = -np.arange(count, dtype=np.float64)
    score = measure(Fixed(logs), split(np.ones(count)))
    shares = [len(share) for share in np.array_split(logs, min(BLOCKS, count))]
    assert len(score.blocks) == min(BLOCKS, count)
    blocks = np.array([math.nan if mean is None else mean for mean in score.blocks])
    assert (blocks * shares).sum() == pytest.approx(score.nats)
    assert (np.diff(blocks) > 0).all()


def test_a_block_with_a_zero_has_no_mean() -> None:
    """The others keep theirs."""
    assert measure(Fixed([-1.0, -np.inf, -2.0]), split([1, 1, 1])).blocks == (1.0, None, 2.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_no_logarithm_has_diverged(bad: float) -> None:
    """NaN and plus infinity; the message names the first token."""
    with pytest.raises(Diverged, match=f"score returned {bad} at token 1"):
        measure(Fixed([-1.0, bad, bad]), split([1, 1, 1]))


@pytest.mark.parametrize("shape", [(2,), (4,), (3, 1), ()])
def test_a_score_of_another_shape_is_a_broken_law(shape: tuple[int, ...]) -> None:
    """One number a token, no less and no more."""
    with pytest.raises(ProtocolViolation, match=r"score returned shape .* for 3 tokens"):
        measure(Fixed(np.full(shape, -1.0)), split([1, 1, 1]))


def test_scoring_is_timed_where_asked() -> None:
    """The watch runs while the model scores."""
    watch = Stopwatch(Processor(), "cpu")
    measure(Uniform(5), split([1, 2, 3]), watch)
    assert watch.seconds > 0


class Said(Uniform):
    """Says other probabilities than it scores by."""

    def __init__(self, logs: list[float]) -> None:
        super().__init__(len(logs))
        self.logs = np.array(logs)

    def next_log_probs(self, context: Tokens) -> LogProbs:
        found: LogProbs = self.logs
        return found


def test_an_honest_distribution_is_let_through() -> None:
    """Of a split of one token too, and of a model that does not say what comes next."""
    check_distribution(Uniform(7), split(np.arange(900) % 7))
    check_distribution(Uniform(7), split([3]))
    check_distribution(Said([-math.log(2)] * 2), split([0, 1]))


@pytest.mark.parametrize(
    "logs",
    [
        [0.0, 0.0],
        [-math.log(2), -math.log(2.1)],
        [math.log(0.4), math.log(0.6)],
        [math.nan, -math.log(2)],
        [-math.inf, 0.0],
    ],
)
def test_another_distribution_is_a_broken_law(logs: list[float]) -> None:
    """It must sum to one and be what the tokens are scored by."""
    with pytest.raises(ProtocolViolation, match="the probabilities sum to"):
        check_distribution(Said(logs), split([0, 1, 0, 1]))


# ---------------------------------------------------------------- the budget


@pytest.mark.parametrize(
    ("budget", "tokens", "seconds", "spent"),
    [
        (Budget(epochs=2), 199, 1e9, False),
        (Budget(cpu_seconds=3), 10**9, 2.9, False),
        (Budget(cpu_seconds=3), 0, 3.0, True),
        (Budget(epochs=2), 200, 0.0, True),
        (Budget(epochs=0.5), 50, 0.0, True),
        (Budget(tokens=70), 69, 0.0, False),
        (Budget(tokens=70), 70, 0.0, True),
        (Budget(seconds=3), 10**9, 2.9, False),
        (Budget(seconds=3), 0, 3.0, True),
        (Budget(epochs=2, tokens=70), 70, 0.0, True),
        (Budget(epochs=2, seconds=3), 10, 3.0, True),
        (Budget(epochs=2, seconds=3), 200, 1.0, True),
    ],
)
def test_a_budget_ends_at_whichever_comes_first(
    budget: Budget, tokens: int, seconds: float, spent: bool
) -> None:
    """Epochs of a hundred tokens, tokens, or seconds of training."""
    assert BudgetTracker(budget, 100).over(usage(tokens, seconds)) == spent


def test_validation_is_due_at_each_epoch() -> None:
    """Once an epoch, and at the end of the budget."""
    spending = BudgetTracker(Budget(epochs=2), 100)
    due = [tokens for tokens in range(10, 201, 10) if spending.due(usage(tokens))]
    assert due == [100, 200]


def test_validation_is_due_at_each_tenth_of_a_budget() -> None:
    """Where epochs may be longer than the budget."""
    spending = BudgetTracker(Budget(tokens=1_000), 10**6)
    due = [tokens for tokens in range(50, 1_001, 50) if spending.due(usage(tokens))]
    assert due == list(range(100, 1_001, 100))


# ---------------------------------------------------------------- the best weights


class Kept(Uniform):
    """A model of one number that can be stored."""

    weight = 0

    def save(self, folder: Path) -> None:
        (folder / str(self.weight)).write_text(str(self.weight))

    def load(self, folder: Path) -> None:
        (file,) = folder.iterdir()
        self.weight = int(file.read_text())


def point(tokens: int, nats: float | None) -> Point:
    return Point(tokens, 0.0, 0.0, 0.0, 0.0, nats)


@pytest.mark.parametrize(
    ("losses", "kept"),
    [
        ([3.0, 2.0, 2.5], 1),
        ([3.0, 2.0, 1.0], 2),
        ([2.0, 2.0], 0),
        ([None, 2.0], 1),
        ([None, None], 0),
    ],
)
def test_the_weights_of_the_best_point_are_kept(
    tmp_path: Path, losses: list[float | None], kept: int
) -> None:
    """The first of equals; a probability of zero is worse than any loss."""
    model, points = Kept(2), [point(10 * i, nats) for i, nats in enumerate(losses)]
    best = BestWeights(model, tmp_path)
    for i, found in enumerate(points):
        model.weight = i
        best.consider(found)
    assert best.restore(points[-1]) == Chosen("best validation point", 10 * kept)
    assert model.weight == kept
    assert [file.name for file in tmp_path.iterdir()] == [str(kept)]


def test_a_model_that_cannot_be_stored_keeps_its_last_weights(tmp_path: Path) -> None:
    """And the record says so."""
    best = BestWeights(Uniform(2), tmp_path)
    best.consider(point(10, 1.0))
    assert best.restore(point(20, 2.0)) == Chosen("last point", 20)


def scored(nats: float) -> Score:
    """Return a validation score of one token."""
    return measure(Fixed([-nats]), split([1]))


@pytest.mark.parametrize(
    ("middle", "mean"), [(2.0, (5 * 6.0 + 5 * 2.0) / 10), (math.inf, (15 * 6.0 + 5 * 2.0) / 20)]
)
def test_a_rollback_goes_to_the_last_good_point(middle: float, mean: float) -> None:
    """A point whose validation loss is infinite is none to go back to: what followed the one
    before it is learnt anew, and the mean loss counts those tokens.
    """
    meter = TrainingMeter(Stopwatch(Processor(), "cpu"))
    meter.add(Progress(10, 9.0))
    meter.point(scored(1.0))
    meter.add(Progress(20, 8.0))
    meter.point(scored(middle))
    meter.add(Progress(30, 7.0))
    # Rolled back to 10 tokens if the point at 20 was no good one, and else to 20.
    meter.add(Progress(25, 6.0))
    meter.add(Progress(30, 2.0))
    assert meter.point(scored(1.0)).train_nats == pytest.approx(mean)


def test_a_score_adds_up() -> None:
    """A perplexity beyond all numbers is infinite, not an error."""
    assert math.isinf(Score(1, 800.0, 0, 800.0, 0, 1, 1).perplexity)
