"""A third party's plugin for the tests: a tiny corpus, an honest model, faults on purpose."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import crashes
import msgspec
from faulty_models import MISDEEDS

from lmgrid.spec import (
    Context,
    CorpusPart,
    Kernel,
    KernelPart,
    ModelPart,
    Place,
    Progress,
    Recipe,
    Sizes,
    State,
    hookimpl,
)
from lmgrid.text import RawText, TextOptions, encode
from lmgrid.vocabulary import EOS, Text

crashes.install()

SENTENCES = "the students opened their books\nthe students opened their minds\n" * 20


@dataclass(frozen=True)
class Tiny(CorpusPart):
    """Forty sentences. Licence: none needed. Size: 1 kB."""

    text: str = SENTENCES

    def digest(self, place: Place) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    def make(self, place: Place) -> Text:
        return encode(RawText(self.text, self.text, self.text), TextOptions())


@dataclass(frozen=True)
class Counts(ModelPart):
    """A unigram model with a prior, that does what ``fault`` says while it is fitted.

    steps: yields of fit, each after ``pause`` seconds; nats get better until step ``best``.
    """

    deterministic: ClassVar[bool] = True

    fault: Literal[
        # of its scores
        "", "nan", "shape", "sum",
        # of faulty_models.py
        "raise", "kill", "orphan", "segfault", "sleep", "memory", "hoard", "move", "leave-child",
        "keep-child", "print", "exit", "interrupt", "bytes", "mute", "hold",
    ] = ""  # fmt: skip
    prior: float = 1.0
    steps: int = 1
    best: int = 0
    pause: float = 0.0
    unnormalised: bool = False
    resumes: bool = False

    @property
    def normalised(self) -> bool:
        return not self.unnormalised

    def make(self, context: Context) -> Any:
        kind = ResumableUnigram if self.resumes else Unigram
        return kind(self, len(context.vocabulary))


class Unigram:
    def __init__(self, options: Counts, size: int) -> None:
        import numpy as np

        self._options, self._np = options, np
        self._counts = np.full(size, options.prior)
        self._flat = 0.0
        self._step = 0

    def fit(self, train: Any, recipe: Recipe) -> Generator[Progress, float | None, None]:
        if misdeed := MISDEEDS.get(self._options.fault):
            misdeed()
        if recipe.resume:
            self._counts = self._np.array(recipe.resume.arrays["counts"])
            self._flat, self._step = (recipe.resume.values[key] for key in ("flat", "step"))
            yield Progress(len(train) * self._step, 1.0)
        else:
            self._counts += self._np.bincount(train, minlength=len(self._counts))
        for step in range(self._step, self._options.steps):
            time.sleep(self._options.pause)
            # The further from the best step, the flatter the distribution.
            self._flat, self._step = float(abs(step - self._options.best)), step + 1
            nats = float("nan") if self._options.fault == "nan" else 1.0
            yield Progress(len(train) * (step + 1), nats, events=(("step", 1),))

    def _logs(self) -> Any:
        counts = self._counts + self._flat * self._counts.sum()
        with self._np.errstate(divide="ignore"):
            return self._np.log(counts / counts.sum())

    def score(self, tokens: Any) -> Any:
        logs = self._logs()[tokens]
        return logs[:-1] if self._options.fault == "shape" else logs

    def next_log_probs(self, context: Any) -> Any:
        return self._logs() + (0.5 if self._options.fault == "sum" else 0.0)

    def save(self, folder: Path) -> None:
        state = [float(self._flat), *map(float, self._counts)]
        (folder / "counts.json").write_bytes(msgspec.json.encode(state))

    def load(self, folder: Path) -> None:
        self._flat, *counts = msgspec.json.decode((folder / "counts.json").read_bytes())
        self._counts = self._np.array(counts)

    def sizes(self) -> Sizes:
        return Sizes(len(self._counts), self._counts.nbytes)


class ResumableUnigram(Unigram):
    """Goes on from the step at which it was stopped."""

    def state(self) -> State:
        return State({"counts": self._counts.copy()}, {"flat": self._flat, "step": self._step})


@dataclass(frozen=True)
class Learner(ModelPart):
    """Softmax regression on the word before, by stochastic gradient descent; NumPy alone."""

    rate: float = 4.0
    batches: int = 8  # an epoch

    @property
    def budgeted(self) -> bool:
        return True

    def make(self, context: Context) -> Any:
        return Regression(self, len(context.vocabulary), context.seed)


class Regression:
    """Learns for ever, in an order that is drawn anew for each epoch, and can be resumed."""

    def __init__(self, options: Learner, size: int, seed: int) -> None:
        import numpy as np

        self._options, self._np, self._seed = options, np, seed
        self._weights = np.random.default_rng(seed).normal(0.0, 0.1, (size, size))
        self._epoch = 0

    def fit(self, train: Any, recipe: Recipe) -> Generator[Progress, float | None, None]:
        if recipe.resume:
            self._weights = self._np.array(recipe.resume.arrays["weights"])
            self._epoch = recipe.resume.values["epoch"]
            yield Progress(len(train) * self._epoch, None)
        before = self._np.concatenate([[EOS], train[:-1]])
        while True:
            order = self._np.random.default_rng([self._seed, self._epoch]).permutation(len(train))
            batches = self._np.array_split(order, self._options.batches)
            nats = [self._step(before[batch], train[batch]) for batch in batches]
            self._epoch += 1
            yield Progress(len(train) * self._epoch, sum(nats) / len(nats))

    def _step(self, before: Any, words: Any) -> float:
        """Descend along the gradient of the mean loss of a batch; return that loss."""
        logs = self._logs(before)  # (batch, V)
        rows = self._np.arange(len(words))
        slope = self._np.exp(logs)
        slope[rows, words] -= 1
        self._np.add.at(self._weights, before, -self._options.rate / len(words) * slope)
        return -float(logs[rows, words].mean())

    def _logs(self, before: Any) -> Any:
        scores = self._weights[before]
        return scores - self._np.log(self._np.exp(scores).sum(axis=-1, keepdims=True))

    def score(self, tokens: Any) -> Any:
        before = self._np.concatenate([[EOS], tokens[:-1]])
        return self._logs(before)[self._np.arange(len(tokens)), tokens]

    def next_log_probs(self, context: Any) -> Any:
        return self._logs(self._np.array([*[EOS], *context][-1:]))[0]

    def save(self, folder: Path) -> None:
        self._np.save(folder / "weights.npy", self._weights)

    def load(self, folder: Path) -> None:
        self._weights = self._np.load(folder / "weights.npy", allow_pickle=False)

    def state(self) -> State:
        return State({"weights": self._weights.copy()}, {"epoch": self._epoch})


@dataclass(frozen=True)
class Sum(KernelPart):
    """The sum of so many numbers; ``wrong`` makes the vectorised form compute something else."""

    size: int = 100
    wrong: bool = False

    def make(self, device: str) -> Kernel:
        import numpy as np

        def sample(seed: int) -> tuple[Any, ...]:
            return (np.random.default_rng(seed).integers(0, 9, self.size),)

        def vector(numbers: Any) -> Any:
            return numbers.sum() + self.wrong

        return Kernel(lambda numbers: sum(int(n) for n in numbers), vector, sample)


@hookimpl
def lmgrid_corpora() -> dict[str, type[CorpusPart]]:
    return {"tiny": Tiny}


@hookimpl
def lmgrid_language_models() -> dict[str, type[ModelPart]]:
    return {"counts": Counts, "learner": Learner}


@hookimpl
def lmgrid_kernels() -> dict[str, type[KernelPart]]:
    return {"sum": Sum}
