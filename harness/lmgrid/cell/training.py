"""What the runner keeps in mind while a model trains: the budget, the points, the best weights."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lmgrid.budget import Budget
from lmgrid.machine.clock import Stopwatch
from lmgrid.result import Point, Score
from lmgrid.spec import Diverged, LanguageModel, Progress, Reading, Resumable, State, Stored

POINTS_A_BUDGET = 10  # validation is scored at each such share of a budget, and each epoch's end


@dataclass(frozen=True)
class Live:
    """What a progress bar shows of a running cell."""

    share: float  # of the budget that is spent
    tokens_per_second: float
    perplexity: float | None  # of the training text just seen; None: not known


@dataclass(frozen=True)
class Usage:
    """What training has cost so far."""

    tokens: int
    seconds: float
    cpu_seconds: float


class Schedule(Protocol):
    """Says when validation is scored, and when training ends."""

    def resume(self, point: Point) -> None:
        """Go on from a point that was made before."""
        ...

    def share(self, spent: Usage) -> float:
        """Return how much of training is done, from 0 to about 1."""
        ...

    def due(self, spent: Usage) -> bool:
        """Return whether validation is to be scored now."""
        ...

    def over(self, spent: Usage) -> bool:
        """Return whether training ends now."""
        ...


class BudgetTracker:
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
        self.due(Usage(point.tokens, point.seconds, point.cpu_seconds))

    def share(self, spent: Usage) -> float:
        share = self._share(spent)
        return share if share > 0 else 1.0  # no budget: a counting model, done at its one yield

    def _share(self, spent: Usage) -> float:
        by_time = spent.seconds / self._seconds, spent.cpu_seconds / self._cpu_seconds
        return max(spent.tokens / self._limit, *by_time)

    def over(self, spent: Usage) -> bool:
        return self._share(spent) >= 1

    def due(self, spent: Usage) -> bool:
        """Return whether an epoch or a tenth of the budget ended since this was last true."""
        epoch = spent.tokens // self._train_tokens
        tenth = int(self.share(spent) * POINTS_A_BUDGET) if self._by_share else 0
        if (epoch, tenth) == self._last and not self.over(spent):
            return False
        self._last = (epoch, tenth)
        return True


class ReplaySchedule:
    """Scores validation where a record has its points, whatever the time, and ends at the last."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._left = list(tokens)
        self._count = len(tokens)

    def resume(self, point: Point) -> None:
        raise ValueError("what is replayed begins anew")

    def share(self, spent: Usage) -> float:
        return 1 - len(self._left) / self._count

    def due(self, spent: Usage) -> bool:
        if not self._left or spent.tokens < self._left[0]:
            return False
        del self._left[0]
        return True

    def over(self, spent: Usage) -> bool:
        return not self._left


class TrainingMeter:
    """Adds up what training said between two points."""

    def __init__(self, clock: Stopwatch) -> None:
        self._clock = clock
        self._since: list[tuple[int, Progress]] = []
        self._events: Counter[str] = Counter()
        self._losses: list[tuple[int, float]] = []
        self._rate = 0.0
        self._good = 0  # training tokens at the last point with a finite validation loss
        self.tokens = 0
        self.seconds = 0.0  # of training, compilation apart
        self.compile_seconds = 0.0

    def resume(self, points: tuple[Point, ...], compile_seconds: float) -> None:
        """Go on from the last of the points made before, perhaps in another process."""
        point = points[-1]
        self.tokens = point.tokens
        self._good = max((p.tokens for p in points if p.valid_nats is not None), default=0)
        self.seconds, self.compile_seconds = point.seconds, compile_seconds
        self._clock.seconds = point.seconds + compile_seconds
        self._clock.cpu_seconds = point.cpu_seconds

    def add(self, progress: Progress) -> None:
        if progress.train_nats is not None and not math.isfinite(progress.train_nats):
            raise Diverged(f"the training loss is {progress.train_nats} at token {progress.tokens}")
        if progress.tokens <= self.tokens:  # rolled back to the last good point
            self._since, self.tokens = [], self._good
        self.compile_seconds += progress.compile_seconds
        before, self.seconds = self.seconds, self._clock.seconds - self.compile_seconds
        new = progress.tokens - self.tokens
        self._rate = new / (self.seconds - before) if self.seconds > before else 0.0
        self._since.append((new, progress))
        self._events.update(dict(progress.events))
        self._losses += progress.losses
        self.tokens = progress.tokens

    @property
    def spent(self) -> Usage:
        return Usage(self.tokens, self.seconds, self._clock.cpu_seconds)

    def live(self, share: float) -> Live:
        loss = self._since[-1][1].train_nats
        perplexity = None if loss is None else math.exp(min(loss, 700.0))
        return Live(min(share, 1.0), self._rate, perplexity)

    def point(self, valid: Score, readings: tuple[Reading, ...] = ()) -> Point:
        since, self._since = self._since, []
        events, self._events = self._events, Counter()
        losses, self._losses = self._losses, []
        if valid.nats is not None:
            self._good = self.tokens
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
            tuple(losses),
        )


def _mean(weighted: list[tuple[int, float]]) -> float | None:
    """Return the mean of values by their weights; None if there are none."""
    total = sum(n for n, _ in weighted)
    return sum(n * value for n, value in weighted) / total if total else None


class BestWeights:
    """Keeps the weights of the best validation point, where the model can save."""

    def __init__(self, model: LanguageModel, folder: Path) -> None:
        self.folder = folder
        self._stored = model if isinstance(model, Stored) else None
        self.point: Point | None = None
        if self._stored or isinstance(model, Resumable):
            folder.mkdir(exist_ok=True)

    def consider(self, point: Point) -> None:
        if self.point is not None and point.nats >= self.point.nats:
            return
        self.point = point
        if self._stored:
            for old in self.folder.iterdir():
                old.unlink()
            self._stored.save(self.folder)

    def restore(self, last: Point) -> tuple[str, int]:
        """Make the model what is kept; return how it was chosen and its training tokens."""
        best = self.point or last
        if self._stored is None:
            return "last point", last.tokens
        if best is not last:
            self._stored.load(self.folder)
        return "best validation point", best.tokens


@dataclass(frozen=True)
class RunnerState:
    """Where the runner stands at a point: all of it but the model's own state."""

    points: tuple[Point, ...]
    best: Point | None
    compile_seconds: float
    resumed: int  # how often it went on from a checkpoint before


class Checkpoints(Protocol):
    """Keeps how far a cell is, so that another process goes on from there."""

    def save(self, stand: RunnerState, state: State, weights: Path) -> None:
        """Keep the runner's stand, the model's state, and a folder of the best weights."""
        ...

    def load(self, weights: Path) -> tuple[RunnerState, State] | None:
        """Return what was kept last and copy its best weights; None if there is nothing whole."""
        ...


class TrainingHistory:
    """The points of a cell so far, each with a checkpoint where the model can be resumed."""

    def __init__(
        self, model: LanguageModel, best: BestWeights, checkpoints: Checkpoints | None
    ) -> None:
        self._best = best
        self._resumable = model if isinstance(model, Resumable) else None
        self._checkpoints = checkpoints if self._resumable else None
        self.points: tuple[Point, ...] = ()
        self.resumed = 0  # how often it went on from a checkpoint

    def resume(self, meter: TrainingMeter, schedule: Schedule) -> State | None:
        """Take up the last checkpoint; return what the model needs to go on, None for nothing."""
        found = self._checkpoints and self._checkpoints.load(self._best.folder)
        if not found:
            return None
        stand, state = found
        self.points, self.resumed = stand.points, stand.resumed + 1
        self._best.point = stand.best
        meter.resume(stand.points, stand.compile_seconds)
        schedule.resume(stand.points[-1])
        return state

    def add(self, point: Point, compile_seconds: float) -> None:
        self.points = (*self.points, point)
        self._best.consider(point)
        if self._checkpoints and self._resumable:
            stand = RunnerState(self.points, self._best.point, compile_seconds, self.resumed)
            self._checkpoints.save(stand, self._resumable.state(), self._best.folder)
