"""Trains and scores a model, given the parts of a cell: the clock, the budget and validation.

This module does not import the registry, the store or the tables, so an edit of those does not
change the address of a record; an edit of this module changes all of them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

from lmgrid.budget import Budget
from lmgrid.callbacks import NO_CALLBACKS, Callbacks
from lmgrid.cell.score import ProtocolViolation, check_distribution, measure
from lmgrid.cell.training import (
    BestWeights,
    BudgetTracker,
    Checkpoints,
    ReplaySchedule,
    Schedule,
    TrainingHistory,
    TrainingMeter,
)
from lmgrid.machine.clock import Stopwatch
from lmgrid.result import CorpusSize, ModelResult, Point, Score, Training
from lmgrid.spec import (
    Context,
    Device,
    ModelPart,
    OptimizerPart,
    Reading,
    Recipe,
    RegularizerPart,
    Reporter,
    ReporterPart,
    Sized,
    State,
    derive_seed,
)
from lmgrid.vocabulary import UNK, Text

POINT_INTERVAL = 10_000  # training tokens between two yields of ``fit``


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The parts and settings of a cell."""

    text: Text
    model: ModelPart
    optimizer: OptimizerPart | None
    regularizers: tuple[RegularizerPart, ...]
    reporters: tuple[ReporterPart, ...]
    budget: Budget | None
    seed: int | None
    device: Device
    device_name: str  # in this process
    cache: Path


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """The folders in which a running cell saves files, and the callbacks that it calls."""

    weights: Path | None = None  # a folder to create for the best weights; None discards them
    checkpoints: Checkpoints | None = None  # saves the state of training; None: nothing is saved
    callbacks: Callbacks = NO_CALLBACKS


@dataclass(frozen=True)
class Replay:
    """The points and scores of a recorded cell that was run again."""

    points: tuple[Point, ...]
    valid: Score | None  # None: it was stopped before its end
    test: Score | None


class ModelRunner:
    """Runs the model of one cell, once."""

    def __init__(self, setup: Setup, workspace: Workspace) -> None:
        self._setup, self._workspace = setup, workspace
        self._text = setup.text
        self._clock = Stopwatch(setup.device, setup.device_name)
        self._meter = TrainingMeter(self._clock)
        setup.device.reset_peak_bytes(setup.device_name)
        self._context = Context(
            vocabulary=self._text.vocabulary,
            counts=self._text.counts,
            seed=derive_seed(setup.seed or 0, "cell"),
            device=setup.device_name,
            cache=setup.cache,
        )
        self._model = setup.model.make(self._context)

    def run(self) -> ModelResult:
        """Train until the budget ends; score the best weights on validation and test.

        ProtocolViolation if the scores are not probabilities, Diverged if a loss is not finite.
        """
        with self._weights() as weights:
            best = BestWeights(self._model, Path(weights))
            history = TrainingHistory(self._model, best, self._workspace.checkpoints)
            budget = self._setup.budget or Budget()
            schedule = BudgetTracker(budget, len(self._text.train.tokens))
            points = tuple(self._curve(history, schedule))
            training = self._training(points, best)
        valid, test, seconds = self._scores()
        sizes = self._model.sizes() if isinstance(self._model, Sized) else None
        return ModelResult(
            normalised=self._setup.model.normalised,
            corpus=self._corpus_size(),
            points=points,
            training=training,
            valid=valid,
            test=test,
            score_seconds=seconds,
            parameters=sizes.parameters if sizes else None,
            bytes=sizes.bytes if sizes else None,
            resumed=history.resumed,
        )

    def replay(self, tokens: tuple[int, ...], *, whole: bool) -> Replay:
        """Train again, and score validation at these counts of training tokens.

        ``whole``: these are all points of the record, so valid and test are scored too.
        """
        schedule = ReplaySchedule(tokens)
        with tempfile.TemporaryDirectory(prefix="lmgrid-") as weights:
            best = BestWeights(self._model, Path(weights))
            history = TrainingHistory(self._model, best, None)
            points = tuple(self._curve(history, schedule))
            if not whole:
                return Replay(points, None, None)
            self._training(points, best)
        valid, test, _ = self._scores()
        return Replay(points, valid, test)

    def _curve(self, history: TrainingHistory, schedule: Schedule) -> Iterator[Point]:
        """Train until the schedule is over; yield the points of the learning curve."""
        # Resume from a checkpoint, if there is one. Its points come first.
        recipe = self._recipe(history.resume(self._meter, schedule))
        yield from history.points
        answer: float | None = None
        with closing(self._model.fit(self._text.train.tokens, recipe)) as fitting:
            if recipe.resume:
                next(fitting)  # the yield at which it was saved; not timed, as it was then
                answer = history.points[-1].nats
            while not schedule.over(self._meter.usage):
                # Train up to the next yield of ``fit``. Only this is timed.
                try:
                    with self._clock.running():
                        progress = fitting.send(answer)
                except StopIteration:
                    return
                # Count what it reports.
                self._meter.add(progress)
                share = schedule.share(self._meter.usage)
                self._workspace.callbacks.live(self._meter.live(share))
                # Score validation if it is due, and save a checkpoint.
                answer = None
                if schedule.due(self._meter.usage):
                    valid = measure(self._model, self._text.valid)
                    point = self._meter.point(valid, self._readings(recipe.reporters))
                    history.add(point, self._meter.compile_seconds)
                    self._workspace.callbacks.point(point)
                    yield point
                    answer = point.nats

    def _weights(self) -> AbstractContextManager[Path | str]:
        """Return the folder of the best weights; a temporary one if they are discarded."""
        kept = self._workspace.weights
        return nullcontext(kept) if kept else tempfile.TemporaryDirectory(prefix="lmgrid-")

    def _recipe(self, resume: State | None) -> Recipe:
        setup, context = self._setup, self._context
        return Recipe(
            optimizer=setup.optimizer.make(context) if setup.optimizer else None,
            regularizers=tuple(part.make(context) for part in setup.regularizers),
            seed=context.seed,
            budget=setup.budget,
            point_interval=POINT_INTERVAL,
            reporters=tuple(part.make(context) for part in setup.reporters),
            resume=resume,
        )

    def _readings(self, reporters: tuple[Reporter, ...]) -> tuple[Reading, ...]:
        tokens = self._text.valid.tokens
        return tuple(r for reporter in reporters for r in reporter.readings(self._model, tokens))

    def _training(self, points: tuple[Point, ...], best: BestWeights) -> Training:
        """Restore the best weights; return what training cost."""
        if not points:
            raise ProtocolViolation("the model ended before it yielded once")
        chosen = best.restore(points[-1])
        return Training(
            tokens=points[-1].tokens,
            seconds=self._meter.seconds,
            cpu_seconds=self._clock.cpu_seconds,
            compile_seconds=self._meter.compile_seconds,
            peak_bytes=self._setup.device.peak_bytes(self._setup.device_name),
            kept=chosen.kept,
            kept_tokens=chosen.tokens,
        )

    def _scores(self) -> tuple[Score, Score, float]:
        """Return the scores of valid and test, and the seconds that scoring test took."""
        part = self._setup.model
        if part.normalised:
            sums = (1,) if part.sums_to_one else (0, 1)
            check_distribution(self._model, self._text.valid, sums)
        valid = measure(self._model, self._text.valid)
        watch = Stopwatch(self._setup.device, self._setup.device_name)
        test = measure(self._model, self._text.test, watch)
        return valid, test, watch.seconds

    def _corpus_size(self) -> CorpusSize:
        train = self._text.train.tokens
        unknown = float(self._text.counts[UNK]) / len(train)
        return CorpusSize(
            types=len(self._text.vocabulary), train_tokens=len(train), train_unknown_rate=unknown
        )
