"""The contract of a language model: an honest model keeps it, and each law catches its fault."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from inspect import signature
from itertools import product
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar

import numpy as np
import pytest

from lmgrid.spec import (
    Context,
    CountingModel,
    LanguageModel,
    LogProbs,
    ModelPart,
    Progress,
    Recipe,
    Sizes,
    Tokens,
)
from lmgrid.testing import SMALL, LanguageModelContract, fit_sample
from lmgrid.vocabulary import EOS, UNK

PRIOR = 20.0  # how many counts the unigram distribution is worth in each row


class Bigram(CountingModel):
    """A bigram model interpolated with the unigram distribution: a reference to be broken."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.rng = size, np.random.default_rng(seed)
        self.counts = np.zeros((size, size))

    def learn(self, train: Tokens) -> None:
        self.count(train)

    def count(self, tokens: Tokens) -> None:
        np.add.at(self.counts, (self.before(tokens), tokens), 1.0)

    def before(self, tokens: Tokens) -> Tokens:
        return np.concatenate(([EOS], tokens)).astype(np.int32)[:-1]

    def score(self, tokens: Tokens) -> LogProbs:
        return self.logs(self.before(tokens), tokens)

    def logs(self, before: Tokens, tokens: Tokens) -> LogProbs:
        totals, row = self.counts.sum(0), self.counts.sum(1)[before]
        unigram = (totals[tokens] + 1) / (totals.sum() + self.size)
        found: LogProbs = np.log((self.counts[before, tokens] + PRIOR * unigram) / (row + PRIOR))
        return found

    def next_log_probs(self, context: Tokens) -> LogProbs:
        ids = np.arange(self.size, dtype=np.int32)
        last = context[-1] if len(context) else self.before(ids[:1])[0]
        return self.logs(np.full(self.size, last), ids)

    def save(self, folder: Path) -> None:
        np.save(folder / "counts.npy", self.counts)

    def load(self, folder: Path) -> None:
        self.counts = np.load(folder / "counts.npy").astype(np.float64)

    def sizes(self) -> Sizes:
        return Sizes(int((self.counts > 0).sum()), self.counts.nbytes)


class SampledBigram(Bigram):
    """Counts a random half of the tokens of each pass, without end, as a network would learn."""

    training = True

    def fit(self, train: Tokens, recipe: Recipe) -> Generator[Progress, float | None, None]:
        seen = 0
        while True:
            for chunk in np.array_split(train, max(1, len(train) // recipe.point_interval)):
                kept = self.rng.random(len(chunk)) < 0.5
                self.count(chunk[kept] if self.training else chunk)
                seen += len(chunk)
                yield Progress(seen, 1.0)


@dataclass(frozen=True)
class Counting(ModelPart):
    """A model that counts and feels no seed."""

    deterministic: ClassVar[bool] = True

    model: type[Bigram] = Bigram

    def make(self, context: Context) -> LanguageModel:
        return self.model(len(context.vocabulary), context.seed)


@dataclass(frozen=True)
class Sampling(ModelPart):
    """A model that learns from random samples."""

    by_gradient: ClassVar[bool] = True

    model: type[Bigram] = SampledBigram

    def make(self, context: Context) -> LanguageModel:
        return self.model(len(context.vocabulary), context.seed)


class TestCounting(LanguageModelContract):
    part = Counting()


class TestSampling(LanguageModelContract):
    part = Sampling()


class ScoresOnly:
    """A model that does nothing but fit and score."""

    def __init__(self, size: int, seed: int) -> None:
        inner = Bigram(size, seed)
        self.fit, self.score = inner.fit, inner.score


class TestScoresOnly(LanguageModelContract):
    part = Counting(ScoresOnly)  # type: ignore[arg-type]


# ---------------------------------------------------------------- the faults


class LooksAhead(Bigram):
    """Predicts each token from the one after it."""

    def before(self, tokens: Tokens) -> Tokens:
        return np.append(tokens[1:], EOS).astype(np.int32)


class Standardises(Bigram):
    """Shifts its scores by a little of their mean over the stream, as batch normalisation may."""

    def score(self, tokens: Tokens) -> LogProbs:
        logs = super().score(tokens)
        return logs - 0.01 * abs(logs.mean()) if len(tokens) > 200 else logs


class DropsTail(Bigram):
    """Scores whole batches of 64 alone."""

    def score(self, tokens: Tokens) -> LogProbs:
        return super().score(tokens)[: len(tokens) // 64 * 64]


class DropoutOn(Bigram):
    """Leaves noise on when it scores."""

    def score(self, tokens: Tokens) -> LogProbs:
        noise: LogProbs = self.rng.normal(0, 1e-6, len(tokens))
        return super().score(tokens) - np.abs(noise)


class Forgets(Bigram):
    """Begins anew with each batch inside."""

    batch = 64

    def score(self, tokens: Tokens) -> LogProbs:
        starts = range(0, len(tokens), self.batch)
        logs = [super(Forgets, self).score(tokens[i : i + self.batch]) for i in starts]
        return np.concatenate([np.empty(0), *logs])


class ForgetsRarely(Forgets):
    """Begins anew with each long batch inside."""

    batch = 1_000


class Unnormalised(Bigram):
    """Gives scores that are no logarithms of probabilities."""

    def logs(self, before: Tokens, tokens: Tokens) -> LogProbs:
        return super().logs(before, tokens) - 0.01


class Bits(Bigram):
    """Takes logarithms to the base of two."""

    def logs(self, before: Tokens, tokens: Tokens) -> LogProbs:
        return np.divide(super().logs(before, tokens), np.log(2))


class AboveOne(Bigram):
    """Gives densities instead of probabilities."""

    def logs(self, before: Tokens, tokens: Tokens) -> LogProbs:
        return np.add(super().logs(before, tokens), np.log(self.size))


class SaysOther(Bigram):
    """Says the unigram distribution where it is asked what comes next."""

    def next_log_probs(self, context: Tokens) -> LogProbs:
        return super().next_log_probs(np.empty(0, np.int32))


class SaysTable(Bigram):
    """Says what comes next with an axis too many."""

    def next_log_probs(self, context: Tokens) -> LogProbs:
        return super().next_log_probs(context)[None]


class Unseeded(SampledBigram):
    """Draws from the operating system."""

    def __init__(self, size: int, seed: int) -> None:
        super().__init__(size, seed)
        self.rng = np.random.default_rng()


class Disturbs(SampledBigram):
    """Draws from training's random numbers when it scores."""

    def score(self, tokens: Tokens) -> LogProbs:
        self.rng.random()
        return super().score(tokens)


class StaysInEvaluation(SampledBigram):
    """Does not go back to training after it scored."""

    def score(self, tokens: Tokens) -> LogProbs:
        self.training = False
        return super().score(tokens)


class LearnsWhenScoring(Bigram):
    """Counts what it scores."""

    def score(self, tokens: Tokens) -> LogProbs:
        logs = super().score(tokens)
        self.counts[EOS, UNK] += 1e-6
        return logs


class CarriesOver(Bigram):
    """Begins a stream where the last one ended."""

    last: int = EOS

    def score(self, tokens: Tokens) -> LogProbs:
        before = np.concatenate(([self.last], tokens)).astype(np.int32)
        self.last = before[-1]
        return self.logs(before[:-1], tokens)


class SavesHalf(Bigram):
    """Rounds what it saves."""

    def save(self, folder: Path) -> None:
        np.save(folder / "counts.npy", self.counts.astype(np.float16) * np.float16(0.999))


class Overwrites(Bigram):
    """Works in its argument."""

    def score(self, tokens: Tokens) -> LogProbs:
        np.clip(tokens, 0, self.size - 1, out=tokens)
        return super().score(tokens)


class SinglePrecision(Bigram):
    """Returns what its hardware computes."""

    def score(self, tokens: Tokens) -> LogProbs:
        return super().score(tokens).astype(np.float32)


class NotANumber(Bigram):
    """Divides zero by zero at the end of a long stream."""

    def score(self, tokens: Tokens) -> LogProbs:
        logs = super().score(tokens)
        logs[3_000:] = np.nan
        return logs


class BeginsElsewhere(Bigram):
    """Sees ``<unk>`` before the first token."""

    def before(self, tokens: Tokens) -> Tokens:
        return np.concatenate(([UNK], tokens)).astype(np.int32)[:-1]


class Guesses(Bigram):
    """Learns nothing."""

    def count(self, tokens: Tokens) -> None:
        """Throw it away."""


class ShufflesTrain(Bigram):
    """Shuffles the training text where it lies."""

    def count(self, tokens: Tokens) -> None:
        self.rng.shuffle(tokens)
        super().count(tokens)


class Weightless(Bigram):
    """Says that it holds nothing."""

    def sizes(self) -> Sizes:
        return Sizes(0, 0)


class Overclaiming(Sampling):
    """Says that it feels no seed, and does."""

    deterministic: ClassVar[bool] = True


class Seedless(Counting):
    """Says that it feels its seed, and does not."""

    deterministic: ClassVar[bool] = False


Fault = tuple[ModelPart, str]

# Faults that no other law can see: exactly the law named must fail.
NARROW: tuple[Fault, ...] = (
    (Counting(Forgets), "remembers_what_it_read"),
    (Counting(Unnormalised), "probabilities_sum_to_one"),
    (Sampling(Disturbs), "scoring_leaves_no_trace"),
    (Sampling(StaysInEvaluation), "scoring_leaves_no_trace"),
    (Counting(SavesHalf), "a_saved_model_scores_the_same"),
    (Counting(SinglePrecision), "scores_each_token_once"),
    (Counting(NotANumber), "scores_each_token_once"),
    (Counting(BeginsElsewhere), "sees_eos_before_the_first_token"),
    (Counting(Weightless), "says_how_large_it_is"),
    (Overclaiming(), "the_seed_matters_unless_it_says_not"),
    (Seedless(), "the_seed_matters_unless_it_says_not"),
)
WIDE: tuple[Fault, ...] = (
    (Counting(LooksAhead), "never_looks_ahead"),
    (Counting(Standardises), "never_looks_ahead"),
    (Counting(Standardises), "a_prefix_scores_the_same"),
    (Counting(DropsTail), "scores_each_token_once"),
    (Counting(DropsTail), "a_prefix_scores_the_same"),
    (Counting(DropoutOn), "scoring_leaves_no_trace"),
    (Counting(ForgetsRarely), "remembers_what_it_read"),
    (Counting(Bits), "probabilities_sum_to_one"),
    (Counting(AboveOne), "scores_each_token_once"),
    (Counting(SaysOther), "says_what_comes_next"),
    (Counting(SaysTable), "says_what_comes_next"),
    (Sampling(Unseeded), "a_seed_repeats_bitwise"),
    (Counting(LearnsWhenScoring), "scoring_leaves_no_trace"),
    (Counting(Overwrites), "scoring_changes_no_argument"),
    (Counting(Guesses), "learns_something"),
    (Counting(CarriesOver), "scoring_leaves_no_trace"),
)
LAWS = {
    name.removeprefix("test_"): law
    for name, law in vars(LanguageModelContract).items()
    if name.startswith("test_")
}


def cases(law: Callable[..., None], folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the arguments of each case of a law on the small vocabulary, as pytest gives them."""
    marks = [mark for mark in getattr(law, "pytestmark", ()) if mark.name == "parametrize"]
    for values in product(*(mark.args[1] for mark in marks)):
        case: dict[str, Any] = {}
        for mark, value in zip(marks, values, strict=True):
            single = isinstance(mark.args[0], str)
            case |= {mark.args[0]: value} if single else dict(zip(mark.args[0], value, strict=True))
        if "tmp_path" in signature(law).parameters:
            case["tmp_path"] = Path(mkdtemp(dir=folder))
        if case.get("size", SMALL) == SMALL:
            yield case


def hold(part: ModelPart, name: str, folder: Path) -> None:
    """Hold a law against a model, in each of its cases."""
    contract = LanguageModelContract()
    contract.part = part
    for case in cases(LAWS[name], folder):
        with suppress(pytest.skip.Exception):
            LAWS[name](contract, **case)


def name_fault(value: object) -> str:
    if isinstance(value, (Counting, Sampling)):
        return f"{type(value).__name__}-{value.model.__name__}"
    return str(value)


@pytest.mark.parametrize(("part", "law"), [*NARROW, *WIDE], ids=name_fault)
def test_a_law_catches_its_fault(part: ModelPart, law: str, tmp_path: Path) -> None:
    """The law fails on a model that was broken to break it."""
    with pytest.raises(AssertionError if law != "scoring_changes_no_argument" else ValueError):
        hold(part, law, tmp_path)


@pytest.mark.parametrize(("part", "law"), NARROW, ids=name_fault)
def test_a_narrow_fault_breaks_no_other_law(part: ModelPart, law: str, tmp_path: Path) -> None:
    """Without the one law that fails, the fault would pass unseen."""
    for other in LAWS.keys() - {law}:
        hold(part, other, tmp_path)


def test_each_law_is_known_to_catch_something() -> None:
    """No law stands there that no fault was tried on."""
    assert {law for _, law in (*NARROW, *WIDE)} == set(LAWS)


def test_training_text_is_read_only() -> None:
    """A model that works in the training text is stopped, as the text is mapped from a cache."""
    with pytest.raises(ValueError, match="read-only"):
        fit_sample((Counting(ShufflesTrain), None, ()), SMALL)
