"""What the runner keeps of a training: its budget, meter, best weights, points and checkpoints.

A training is described by a ``Progress`` at each yield of ``fit`` and by a ``Point`` where it is
recorded. A ``Checkpoint`` holds what resuming it needs: the runner's ``RunnerState`` and the
model's ``State``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lmgrid.budget import Budget
from lmgrid.callbacks import Live
from lmgrid.machine.clock import Stopwatch
from lmgrid.result import Point, Score
from lmgrid.spec import Diverged, LanguageModel, Progress, Reading, Resumable, State, Stored

POINTS_A_BUDGET = 10  # validation is scored at each tenth of a budget and at each epoch's end


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What training has used of a budget so far."""

    tokens: int  # training tokens predicted
    seconds: float  # wall time of training, compilation apart
    cpu_seconds: float


class Schedule(Protocol):
    """Decides when validation is scored, and when training ends."""

    def resume(self, point: Point) -> None:
        """Continue from a point that was recorded before."""
        ...

    def share(self, usage: Usage) -> float:
        """Return the share of training that is done, from 0 to about 1."""
        ...

    def due(self, usage: Usage) -> bool:
        """Return whether to score validation now. Called once at each yield of ``fit``."""
        ...

    def over(self, usage: Usage) -> bool:
        """Return whether to end training now."""
        ...


class BudgetTracker:
    """A schedule that follows a budget: it ends when the budget is used up."""

    def __init__(self, budget: Budget, train_tokens: int) -> None:
        self._limit = budget.limit(train_tokens)
        self._seconds = math.inf if budget.seconds is None else budget.seconds
        self._cpu_seconds = math.inf if budget.cpu_seconds is None else budget.cpu_seconds
        self._by_share = (budget.seconds, budget.tokens, budget.cpu_seconds) != (None, None, None)
        self._train_tokens = train_tokens
        self._last = (0, 0)

    def resume(self, point: Point) -> None:
        """Continue from a point that was recorded before."""
        usage = Usage(tokens=point.tokens, seconds=point.seconds, cpu_seconds=point.cpu_seconds)
        self.due(usage)

    def share(self, usage: Usage) -> float:
        share = self._share(usage)
        return share if share > 0 else 1.0  # without a budget: a counting model, which yields once

    def _share(self, usage: Usage) -> float:
        by_time = usage.seconds / self._seconds, usage.cpu_seconds / self._cpu_seconds
        return max(usage.tokens / self._limit, *by_time)

    def over(self, usage: Usage) -> bool:
        return self._share(usage) >= 1

    def due(self, usage: Usage) -> bool:
        """Return whether an epoch or a tenth of the budget ended since the last time it was due."""
        epoch = usage.tokens // self._train_tokens
        tenth = int(self.share(usage) * POINTS_A_BUDGET) if self._by_share else 0
        if (epoch, tenth) == self._last and not self.over(usage):
            return False
        self._last = (epoch, tenth)
        return True


class ReplaySchedule:
    """A schedule that scores validation where a record has its points, and ends at the last one."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._left = list(tokens)
        self._count = len(tokens)

    def resume(self, point: Point) -> None:
        raise ValueError("a replay starts from the beginning")

    def share(self, usage: Usage) -> float:
        return 1 - len(self._left) / self._count

    def due(self, usage: Usage) -> bool:
        if not self._left or usage.tokens < self._left[0]:
            return False
        del self._left[0]
        return True

    def over(self, usage: Usage) -> bool:
        return not self._left


class TrainingMeter:
    """Adds up what ``fit`` reports between two points, and measures the time of training."""

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
        """Continue from the last recorded point, perhaps in another process."""
        point = points[-1]
        self.tokens = point.tokens
        self._good = max((p.tokens for p in points if p.valid_nats is not None), default=0)
        self.seconds, self.compile_seconds = point.seconds, compile_seconds
        self._clock.seconds = point.seconds + compile_seconds
        self._clock.cpu_seconds = point.cpu_seconds

    def add(self, progress: Progress) -> None:
        if progress.train_nats is not None and not math.isfinite(progress.train_nats):
            raise Diverged(f"the training loss is {progress.train_nats} at token {progress.tokens}")
        if progress.tokens <= self.tokens:  # rolled back to the last point with a finite loss
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
    def usage(self) -> Usage:
        return Usage(tokens=self.tokens, seconds=self.seconds, cpu_seconds=self._clock.cpu_seconds)

    def live(self, share: float) -> Live:
        loss = self._since[-1][1].train_nats
        perplexity = None if loss is None else math.exp(min(loss, 700.0))
        return Live(share=min(share, 1.0), tokens_per_second=self._rate, perplexity=perplexity)

    def point(self, valid: Score, readings: tuple[Reading, ...] = ()) -> Point:
        since, self._since = self._since, []
        events, self._events = self._events, Counter()
        losses, self._losses = self._losses, []
        if valid.nats is not None:
            self._good = self.tokens
        known = [(n, p.train_nats) for n, p in since if p.train_nats is not None]
        return Point(
            tokens=self.tokens,
            seconds=self.seconds,
            cpu_seconds=self._clock.cpu_seconds,
            train_nats=_mean(known),
            penalty=_mean([(n, p.penalty) for n, p in since]),
            valid_nats=None if valid.nats is None else valid.mean_nats,
            events=tuple(sorted(events.items())),
            readings=readings,
            losses=tuple(losses),
        )


def _mean(weighted: list[tuple[int, float]]) -> float | None:
    """Return the weighted mean of (weight, value) pairs; None if the weights sum to zero."""
    total = sum(n for n, _ in weighted)
    return sum(n * value for n, value in weighted) / total if total else None


@dataclass(frozen=True)
class Chosen:
    """Which weights are scored on test."""

    kept: str  # "best validation point" or "last point"
    tokens: int  # training tokens at that point


class BestWeights:
    """Saves the weights of the point with the lowest validation loss, if the model can save."""

    def __init__(self, model: LanguageModel, folder: Path) -> None:
        self.folder = folder
        self._stored = model if isinstance(model, Stored) else None
        self.point: Point | None = None
        if self._stored or isinstance(model, Resumable):
            folder.mkdir(exist_ok=True)

    def consider(self, point: Point) -> None:
        """Save the weights if no point before had so low a validation loss."""
        if self.point is not None and point.nats >= self.point.nats:
            return
        self.point = point
        if self._stored:
            for old in self.folder.iterdir():
                old.unlink()
            self._stored.save(self.folder)

    def restore(self, last: Point) -> Chosen:
        """Load the best weights into the model; the last ones stay if it cannot be stored."""
        best = self.point or last
        if self._stored is None:
            return Chosen("last point", last.tokens)
        if best is not last:
            self._stored.load(self.folder)
        return Chosen("best validation point", best.tokens)


@dataclass(frozen=True)
class RunnerState:
    """What the runner needs to resume a training, apart from the state of the model."""

    points: tuple[Point, ...]
    best: Point | None
    compile_seconds: float
    resumed: int  # how often training was resumed before


@dataclass(frozen=True)
class Checkpoint:
    """What another process needs to resume a training, apart from the best weights."""

    runner: RunnerState
    model: State


class Checkpoints(Protocol):
    """Saves checkpoints of a training, and the best weights beside them."""

    def save(self, checkpoint: Checkpoint, weights: Path) -> None:
        """Save a checkpoint, and copy the folder ``weights`` of the best weights."""
        ...

    def load(self, weights: Path) -> Checkpoint | None:
        """Return the last checkpoint, and copy its best weights into ``weights``.

        None if there is no intact checkpoint.
        """
        ...


class TrainingHistory:
    """The points of a training so far; saves a checkpoint at each if the model can be resumed."""

    def __init__(
        self, model: LanguageModel, best: BestWeights, checkpoints: Checkpoints | None
    ) -> None:
        self._best = best
        self._resumable = model if isinstance(model, Resumable) else None
        self._checkpoints = checkpoints if self._resumable else None
        self.points: tuple[Point, ...] = ()
        self.resumed = 0  # how often training was resumed from a checkpoint

    def resume(self, meter: TrainingMeter, schedule: Schedule) -> State | None:
        """Load the last checkpoint; return the model's state, or None if there is none."""
        checkpoint = self._checkpoints and self._checkpoints.load(self._best.folder)
        if not checkpoint:
            return None
        runner = checkpoint.runner
        self.points, self.resumed = runner.points, runner.resumed + 1
        self._best.point = runner.best
        meter.resume(runner.points, runner.compile_seconds)
        schedule.resume(runner.points[-1])
        return checkpoint.model

    def add(self, point: Point, compile_seconds: float) -> None:
        """Add a point, and save a checkpoint."""
        self.points = (*self.points, point)
        self._best.consider(point)
        if self._checkpoints and self._resumable:
            runner = RunnerState(
                points=self.points,
                best=self._best.point,
                compile_seconds=compile_seconds,
                resumed=self.resumed,
            )
            checkpoint = Checkpoint(runner, self._resumable.state())
            self._checkpoints.save(checkpoint, self._best.folder)
