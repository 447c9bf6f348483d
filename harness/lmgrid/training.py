"""What the runner keeps in mind while a model trains: the budget, the points, the best weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from lmgrid.clock import Stopwatch
from lmgrid.grid import Budget
from lmgrid.record import Point, Score
from lmgrid.spec import LanguageModel, Progress, Stored

POINTS_A_BUDGET = 10  # validation is scored at each such share of a budget, and each epoch's end


class Diverged(Exception):
    """The loss is not finite any more."""


@dataclass(frozen=True)
class Live:
    """What a progress bar shows of a running cell."""

    share: float  # of the budget that is spent
    tokens_per_second: float
    perplexity: float  # of the training text just seen


class Spending:
    """How much of a budget is spent, and when validation is due."""

    def __init__(self, budget: Budget, train_tokens: int) -> None:
        self._limit = budget.limit(train_tokens)
        self._seconds = math.inf if budget.seconds is None else budget.seconds
        self._by_share = budget.seconds is not None or budget.tokens is not None
        self._train_tokens = train_tokens
        self._last = (0, 0)

    def share(self, tokens: int, seconds: float) -> float:
        spent = max(tokens / self._limit, seconds / self._seconds)
        return spent if spent > 0 else 1.0  # no budget: a counting model, done at its one yield

    def spent(self, tokens: int, seconds: float) -> bool:
        return tokens >= self._limit or seconds >= self._seconds

    def due(self, tokens: int, seconds: float) -> bool:
        """Return whether an epoch or a tenth of the budget ended since this was last true."""
        epoch = tokens // self._train_tokens
        tenth = int(self.share(tokens, seconds) * POINTS_A_BUDGET) if self._by_share else 0
        if (epoch, tenth) == self._last and not self.spent(tokens, seconds):
            return False
        self._last = (epoch, tenth)
        return True


class Meter:
    """Adds up what training said between two points."""

    def __init__(self, clock: Stopwatch) -> None:
        self._clock = clock
        self._since: list[tuple[int, Progress]] = []
        self._rate = 0.0
        self.tokens = 0
        self.seconds = 0.0  # of training, compilation apart
        self.compile_seconds = 0.0

    def add(self, progress: Progress) -> None:
        if not math.isfinite(progress.train_nats):
            raise Diverged(f"the training loss is {progress.train_nats} at token {progress.tokens}")
        self.compile_seconds += progress.compile_seconds
        before, self.seconds = self.seconds, self._clock.seconds - self.compile_seconds
        new = progress.tokens - self.tokens
        self._rate = new / (self.seconds - before) if self.seconds > before else 0.0
        self._since.append((new, progress))
        self.tokens = progress.tokens

    def live(self, share: float) -> Live:
        loss = self._since[-1][1].train_nats
        return Live(min(share, 1.0), self._rate, math.exp(min(loss, 700.0)))

    def point(self, valid: Score) -> Point:
        since, self._since = self._since, []
        tokens = sum(n for n, _ in since) or 1
        events: dict[str, int] = {}
        for _, progress in since:
            for name, count in progress.events:
                events[name] = events.get(name, 0) + count
        return Point(
            self.tokens,
            self.seconds,
            self._clock.cpu_seconds,
            sum(n * p.train_nats for n, p in since) / tokens,
            sum(n * p.penalty for n, p in since) / tokens,
            None if valid.nats is None else valid.mean_nats,
            tuple(sorted(events.items())),
        )


class Best:
    """Keeps the weights of the best validation point, where the model can save."""

    def __init__(self, model: LanguageModel, folder: Path) -> None:
        self._model, self._folder = model, folder
        self._best: Point | None = None

    def offer(self, point: Point) -> None:
        if self._best is not None and point.nats >= self._best.nats:
            return
        self._best = point
        if isinstance(self._model, Stored):
            for old in self._folder.iterdir():
                old.unlink()
            self._model.save(self._folder)

    def keep(self, last: Point) -> tuple[str, int]:
        """Make the model what is kept; return how it was chosen and its training tokens."""
        best = self._best or last
        if not isinstance(self._model, Stored):
            return "last point", last.tokens
        if best is not last:
            self._model.load(self._folder)
        return "best validation point", best.tokens
