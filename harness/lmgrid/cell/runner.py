"""From a cell's parts to its result: owns the clock, the budget, validation and selection.

Nothing here knows of plugins, stores or tables: what a cell is made of is handed in. So an edit of
those moves no address, and an edit of this module moves all of them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from lmgrid.budget import Budget
from lmgrid.cell.score import ProtocolViolation, check_distribution, measure
from lmgrid.cell.training import (
    BestWeights,
    BudgetTracker,
    Checkpoints,
    Live,
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
    LanguageModel,
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

POINT_INTERVAL = 10_000  # training tokens between two looks at the clock


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a cell is made of."""

    text: Text
    model: ModelPart
    optimizer: OptimizerPart | None
    regularizers: tuple[RegularizerPart, ...]
    reporters: tuple[ReporterPart, ...]
    budget: Budget | None
    seed: int | None
    device: Device
    device_name: str  # as this process calls it
    cache: Path


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """Where a running cell keeps its files, and who listens."""

    weights: Path | None = None  # a folder to make for the best weights; None keeps none
    checkpoints: Checkpoints | None = None  # keeps how far training is; None: nobody
    on_live: Callable[[Live], None] = field(default=lambda live: None)
    on_point: Callable[[Point], None] = field(default=lambda point: None)


@dataclass(frozen=True)
class Replay:
    """What a recorded cell yields when it is run again up to one of its points."""

    points: tuple[Point, ...]
    valid: Score | None  # None: it was stopped before its end
    test: Score | None


def run_model(setup: Setup, desk: Workspace) -> ModelResult:
    """Train a model until its budget ends, and score it."""
    return _Session(setup, desk).result()


def replay_model(setup: Setup, desk: Workspace, tokens: tuple[int, ...], *, whole: bool) -> Replay:
    """Train a model again, scoring validation at these counts of training tokens.

    ``whole``: they are all points that the record has, so that valid and test are scored too.
    """
    return _Session(setup, desk).replay(ReplaySchedule(tokens), whole=whole)


class _Session:
    """One cell being run."""

    def __init__(self, setup: Setup, desk: Workspace) -> None:
        self._setup, self._desk = setup, desk
        self._text = setup.text
        self._clock = Stopwatch(setup.device, setup.device_name)
        self._meter = TrainingMeter(self._clock)
        setup.device.reset_peak_bytes(setup.device_name)
        seed = derive_seed(setup.seed or 0, "cell")
        vocabulary, counts = self._text.vocabulary, self._text.counts
        self._context = Context(vocabulary, counts, seed, setup.device_name, setup.cache)
        self._model: LanguageModel = setup.model.make(self._context)

    def result(self) -> ModelResult:
        with self._weights() as weights:
            best = BestWeights(self._model, Path(weights))
            course = TrainingHistory(self._model, best, self._desk.checkpoints)
            budget = self._setup.budget or Budget()
            schedule = BudgetTracker(budget, len(self._text.train.tokens))
            points = tuple(self._curve(course, schedule))
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
            resumed=course.resumed,
        )

    def replay(self, schedule: ReplaySchedule, *, whole: bool) -> Replay:
        with tempfile.TemporaryDirectory(prefix="lmgrid-") as weights:
            best = BestWeights(self._model, Path(weights))
            points = tuple(self._curve(TrainingHistory(self._model, best, None), schedule))
            if not whole:
                return Replay(points, None, None)
            self._training(points, best)
        valid, test, _ = self._scores()
        return Replay(points, valid, test)

    def _weights(self) -> AbstractContextManager[Path | str]:
        """Return where the best weights are kept: for good, or until the test is scored."""
        kept = self._desk.weights
        return nullcontext(kept) if kept else tempfile.TemporaryDirectory(prefix="lmgrid-")

    def _recipe(self, resume: State | None) -> Recipe:
        setup, context = self._setup, self._context
        return Recipe(
            setup.optimizer.make(context) if setup.optimizer else None,
            tuple(part.make(context) for part in setup.regularizers),
            context.seed,
            setup.budget,
            POINT_INTERVAL,
            tuple(part.make(context) for part in setup.reporters),
            resume,
        )

    def _curve(self, course: TrainingHistory, schedule: Schedule) -> Iterator[Point]:
        """Train to the end of the schedule; the clock stands still while a point is scored."""
        recipe = self._recipe(course.resume(self._meter, schedule))
        yield from course.points
        answer: float | None = None
        with closing(self._model.fit(self._text.train.tokens, recipe)) as fitting:
            if recipe.resume:
                next(fitting)  # stands where it stood; outside the clock, as it was then
                answer = course.points[-1].nats
            while not schedule.over(self._meter.spent):
                try:
                    with self._clock.running():
                        progress = fitting.send(answer)
                except StopIteration:
                    return
                self._meter.add(progress)
                self._desk.on_live(self._meter.live(schedule.share(self._meter.spent)))
                answer = None
                if schedule.due(self._meter.spent):
                    valid = measure(self._model, self._text.valid)
                    point = self._meter.point(valid, self._readings(recipe.reporters))
                    course.add(point, self._meter.compile_seconds)
                    self._desk.on_point(point)
                    yield point
                    answer = point.nats

    def _readings(self, reporters: tuple[Reporter, ...]) -> tuple[Reading, ...]:
        tokens = self._text.valid.tokens
        return tuple(r for reporter in reporters for r in reporter.readings(self._model, tokens))

    def _training(self, points: tuple[Point, ...], best: BestWeights) -> Training:
        if not points:
            raise ProtocolViolation("the model ended before it yielded once")
        kept, tokens = best.restore(points[-1])
        return Training(
            points[-1].tokens,
            self._meter.seconds,
            self._clock.cpu_seconds,
            self._meter.compile_seconds,
            self._setup.device.peak_bytes(self._setup.device_name),
            kept,
            tokens,
        )

    def _scores(self) -> tuple[Score, Score, float]:
        """Return the scores of valid and test, and the seconds that the latter took."""
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
        return CorpusSize(len(self._text.vocabulary), len(train), unknown)
