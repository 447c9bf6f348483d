"""What the runner keeps in mind while a model trains: the budget, the points, the best weights."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lmgrid.checkpoint import Checkpoints, Stand
from lmgrid.clock import Stopwatch
from lmgrid.grid import Budget
from lmgrid.record import Point, Score
from lmgrid.spec import Diverged, LanguageModel, Progress, Reading, Resumable, State, Stored

POINTS_A_BUDGET = 10  # validation is scored at each such share of a budget, and each epoch's end


@dataclass(frozen=True)
class Live:
    """What a progress bar shows of a running cell."""

    share: float  # of the budget that is spent
    tokens_per_second: float
    perplexity: float | None  # of the training text just seen; None: not known


@dataclass(frozen=True)
class Spent:
    """What training has cost so far."""

    tokens: int
    seconds: float
    cpu_seconds: float


class Spending:
    """How much of a budget is spent, and when validation is due."""

    def __init__(self, budget: Budget, train_tokens: int) -> None:
        self._limit = budget.limit(train_tokens)
        self._seconds = math.inf if budget.seconds is None else budget.seconds
        self._cpu_seconds = math.inf if budget.cpu_seconds is None else budget.cpu_seconds
        self._by_share = (budget.seconds, budget.tokens, budget.cpu_seconds) != (None, None, None)
        self._train_tokens = train_tokens
        self._last = (0, 0)

    def resume(self, point: Point) -> None:
        """Go on from a point that was made before."""
        self.due(Spent(point.tokens, point.seconds, point.cpu_seconds))

    def share(self, spent: Spent) -> float:
        share = self._share(spent)
        return share if share > 0 else 1.0  # no budget: a counting model, done at its one yield

    def _share(self, spent: Spent) -> float:
        by_time = spent.seconds / self._seconds, spent.cpu_seconds / self._cpu_seconds
        return max(spent.tokens / self._limit, *by_time)

    def over(self, spent: Spent) -> bool:
        return self._share(spent) >= 1

    def due(self, spent: Spent) -> bool:
        """Return whether an epoch or a tenth of the budget ended since this was last true."""
        epoch = spent.tokens // self._train_tokens
        tenth = int(self.share(spent) * POINTS_A_BUDGET) if self._by_share else 0
        if (epoch, tenth) == self._last and not self.over(spent):
            return False
        self._last = (epoch, tenth)
        return True


class Meter:
    """Adds up what training said between two points."""

    def __init__(self, clock: Stopwatch) -> None:
        self._clock = clock
        self._since: list[tuple[int, Progress]] = []
        self._events: Counter[str] = Counter()
        self._rate = 0.0
        self._at_point = 0  # training tokens at the last point
        self.tokens = 0
        self.seconds = 0.0  # of training, compilation apart
        self.compile_seconds = 0.0

    def resume(self, point: Point, compile_seconds: float) -> None:
        """Go on from a point that was made before, perhaps in another process."""
        self.tokens = self._at_point = point.tokens
        self.seconds, self.compile_seconds = point.seconds, compile_seconds
        self._clock.seconds = point.seconds + compile_seconds
        self._clock.cpu_seconds = point.cpu_seconds

    def add(self, progress: Progress) -> None:
        if progress.train_nats is not None and not math.isfinite(progress.train_nats):
            raise Diverged(f"the training loss is {progress.train_nats} at token {progress.tokens}")
        if progress.tokens <= self.tokens:  # rolled back to the last point, which is a good one
            self._since, self.tokens = [], self._at_point
        self.compile_seconds += progress.compile_seconds
        before, self.seconds = self.seconds, self._clock.seconds - self.compile_seconds
        new = progress.tokens - self.tokens
        self._rate = new / (self.seconds - before) if self.seconds > before else 0.0
        self._since.append((new, progress))
        self._events.update(dict(progress.events))
        self.tokens = progress.tokens

    @property
    def spent(self) -> Spent:
        return Spent(self.tokens, self.seconds, self._clock.cpu_seconds)

    def live(self, share: float) -> Live:
        loss = self._since[-1][1].train_nats
        perplexity = None if loss is None else math.exp(min(loss, 700.0))
        return Live(min(share, 1.0), self._rate, perplexity)

    def point(self, valid: Score, readings: tuple[Reading, ...] = ()) -> Point:
        since, self._since = self._since, []
        events, self._events = self._events, Counter()
        self._at_point = self.tokens
        known = [(n, p.train_nats) for n, p in since if p.train_nats is not None]
        return Point(
            self.tokens,
            self.seconds,
            self._clock.cpu_seconds,
            _mean(known),
            _mean([(n, p.penalty) for n, p in since]),
            None if valid.nats is None else valid.mean_nats,
            tuple(sorted(events.items())),
            readings,
        )


def _mean(weighted: list[tuple[int, float]]) -> float | None:
    """Return the mean of values by their weights; None if there are none."""
    total = sum(n for n, _ in weighted)
    return sum(n * value for n, value in weighted) / total if total else None


class Best:
    """Keeps the weights of the best validation point, where the model can save."""

    def __init__(self, model: LanguageModel, folder: Path) -> None:
        self._model, self.folder = model, folder
        self.point: Point | None = None

    def offer(self, point: Point) -> None:
        if self.point is not None and point.nats >= self.point.nats:
            return
        self.point = point
        if isinstance(self._model, Stored):
            for old in self.folder.iterdir():
                old.unlink()
            self._model.save(self.folder)

    def keep(self, last: Point) -> tuple[str, int]:
        """Make the model what is kept; return how it was chosen and its training tokens."""
        best = self.point or last
        if not isinstance(self._model, Stored):
            return "last point", last.tokens
        if best is not last:
            self._model.load(self.folder)
        return "best validation point", best.tokens


class Course:
    """The points of a cell so far, each with a checkpoint where the model can be resumed."""

    def __init__(self, model: LanguageModel, best: Best, folder: Path | None) -> None:
        self._model, self._best = model, best
        self._checkpoints = Checkpoints(folder) if folder else None
        self.points: tuple[Point, ...] = ()
        self.resumed = 0  # how often it went on from a checkpoint

    def resume(self, meter: Meter, budget: Spending) -> State | None:
        """Take up the last checkpoint; return what the model needs to go on, None for nothing."""
        if not (self._checkpoints and isinstance(self._model, Resumable)):
            return None
        found = self._checkpoints.load(self._best.folder)
        if found is None:
            return None
        stand, state = found
        self.points, self.resumed = stand.points, stand.resumed + 1
        self._best.point = stand.best
        meter.resume(stand.points[-1], stand.compile_seconds)
        budget.resume(stand.points[-1])
        return state

    def add(self, point: Point, compile_seconds: float) -> None:
        self.points = (*self.points, point)
        self._best.offer(point)
        if self._checkpoints and isinstance(self._model, Resumable):
            stand = Stand(self.points, self._best.point, compile_seconds, self.resumed)
            self._checkpoints.save(stand, self._model.state(), self._best.folder)
