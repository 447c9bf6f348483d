"""From a cell to its record: owns the clock, the budget, validation, stopping and selection."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

from lmgrid.clock import Stopwatch
from lmgrid.environment import capture, load_average, now
from lmgrid.errors import Mistake
from lmgrid.grid import AnyCell, Budget, Cell
from lmgrid.identity import Identities
from lmgrid.record import (
    Circumstances,
    CorpusSize,
    Inputs,
    KernelRecord,
    Point,
    Record,
    Training,
)
from lmgrid.registry import Registry
from lmgrid.score import BrokenLaw, check_distribution, measure
from lmgrid.spec import (
    Context,
    LanguageModel,
    Place,
    Reading,
    Recipe,
    Reporter,
    Sized,
    Sizes,
    State,
    Stored,
    derive_seed,
)
from lmgrid.stored import save_vocabulary
from lmgrid.text import UNK, Text
from lmgrid.training import Best, Course, Live, Meter, Spending

POINT_INTERVAL = 10_000  # training tokens between two looks at the clock


@dataclass(frozen=True)
class Desk:
    """Where a cell is run: its files, its neighbours, and who listens."""

    place: Place
    weights: Path | None = None  # a folder to make for the best weights; None keeps none
    checkpoints: Path | None = None  # where to keep how far training is; None: nowhere
    jobs: int = 1
    on_live: Callable[[Live], None] = field(default=lambda live: None)
    on_point: Callable[[Point], None] = field(default=lambda point: None)
    planned: Inputs | None = None  # what the cell was planned from; nothing else is run
    device: str = ""  # what the cell's device is called in this process; empty: as in the cell


def run(cell: AnyCell, registry: Registry, desk: Desk) -> Record | KernelRecord:
    """Run one cell in this process and return its record."""
    went_in = Identities(registry, desk.place).of(cell)
    if desk.planned not in (None, went_in):
        raise Mistake("the corpus or a plugin's source was edited after the run began; run again")
    cell = replace(cell, device=desk.device or cell.device)
    circumstances = _circumstances(cell, registry, desk)
    if isinstance(cell, Cell):
        return _Session(cell, registry, desk).record(went_in, circumstances)
    from lmgrid.kernel import compare

    _set_threads(cell.threads, registry, {registry.kernel(cell.kernel).requires})
    return compare(cell, registry, (went_in, circumstances))


def _circumstances(cell: AnyCell, registry: Registry, desk: Desk) -> Circumstances:
    environment = capture()
    if cell.device != "cpu":
        name = registry.device(cell.device).describe(cell.device)
        environment = replace(environment, accelerator=name)
    return Circumstances(environment, now(), desk.jobs, round(load_average(), 2))


def _set_threads(threads: int, registry: Registry, requires: set[str]) -> None:
    """Set the threads of every library that the cell uses, in this one place."""
    for provided in registry.provided("device"):
        if not provided.part.requires or provided.part.requires in requires:
            provided.part().make().set_threads(threads)


# ---------------------------------------------------------------- a model


class _Session:
    """One cell being run."""

    def __init__(self, cell: Cell, registry: Registry, desk: Desk) -> None:
        self._started = perf_counter()
        self._cell, self._registry, self._desk = cell, registry, desk
        self._part = registry.model(cell.model)
        self._device = registry.device(cell.device)
        _set_threads(cell.threads, registry, {self._part.requires})
        self._text: Text = registry.corpus(cell.corpus).make(desk.place)
        self._clock = Stopwatch(self._device, cell.device)
        self._meter = Meter(self._clock)
        self._device.reset_peak_bytes(cell.device)
        self._context = self._make_context()
        self._model: LanguageModel = self._part.make(self._context)

    def record(self, went_in: Inputs, circumstances: Circumstances) -> Record:
        with self._weights() as weights:
            best = Best(self._model, Path(weights))
            course = Course(self._model, best, self._desk.checkpoints)
            points = tuple(self._curve(course))
            training = self._training(points, best)
            if self._desk.weights and isinstance(self._model, Stored):
                save_vocabulary(self._desk.weights, self._text)
        if self._part.normalised:
            sums = (1,) if self._part.sums_to_one else (0, 1)
            check_distribution(self._model, self._text.valid, sums)
        valid = measure(self._model, self._text.valid)
        watch = Stopwatch(self._device, self._cell.device)
        test = measure(self._model, self._text.test, watch)
        sizes = self._model.sizes() if isinstance(self._model, Sized) else None
        return Record(
            went_in,
            self._part.normalised,
            self._corpus_size(),
            points,
            training,
            valid,
            test,
            watch.seconds,
            perf_counter() - self._started,
            *_flat(sizes),
            replace(circumstances, resumed=course.resumed),
        )

    def _weights(self) -> AbstractContextManager[Path | str]:
        """Return where the best weights are kept: for good, or until the test is scored."""
        kept = self._desk.weights
        return nullcontext(kept) if kept else tempfile.TemporaryDirectory(prefix="lmgrid-")

    def _make_context(self) -> Context:
        seed = derive_seed(self._cell.seed or 0, "cell")
        cache = self._desk.place.cache
        return Context(self._text.vocabulary, self._text.counts, seed, self._cell.device, cache)

    def _recipe(self, resume: State | None) -> Recipe:
        cell, registry, context = self._cell, self._registry, self._context
        return Recipe(
            registry.optimizer(cell.optimizer).make(context) if cell.optimizer else None,
            tuple(registry.regularizer(part).make(context) for part in cell.regularizers),
            context.seed,
            cell.budget,
            POINT_INTERVAL,
            tuple(registry.reporter(part).make(context) for part in cell.reporters),
            resume,
        )

    def _curve(self, course: Course) -> Iterator[Point]:
        """Train to the end of the budget; the clock stands still while a point is scored."""
        train = self._text.train.tokens
        budget = Spending(self._cell.budget or Budget(), len(train))
        recipe = self._recipe(course.resume(self._meter, budget))
        yield from course.points
        answer: float | None = None
        with closing(self._model.fit(train, recipe)) as fitting:
            if recipe.resume:
                next(fitting)  # stands where it stood; outside the clock, as it was then
                answer = course.points[-1].nats
            while not budget.over(self._meter.spent):
                try:
                    with self._clock.running():
                        progress = fitting.send(answer)
                except StopIteration:
                    return
                self._meter.add(progress)
                self._desk.on_live(self._meter.live(budget.share(self._meter.spent)))
                answer = None
                if budget.due(self._meter.spent):
                    valid = measure(self._model, self._text.valid)
                    point = self._meter.point(valid, self._readings(recipe.reporters))
                    course.add(point, self._meter.compile_seconds)
                    self._desk.on_point(point)
                    yield point
                    answer = point.nats

    def _readings(self, reporters: tuple[Reporter, ...]) -> tuple[Reading, ...]:
        tokens = self._text.valid.tokens
        return tuple(r for reporter in reporters for r in reporter.readings(self._model, tokens))

    def _training(self, points: tuple[Point, ...], best: Best) -> Training:
        if not points:
            raise BrokenLaw("the model ended before it yielded once")
        kept, tokens = best.keep(points[-1])
        return Training(
            points[-1].tokens,
            self._meter.seconds,
            self._clock.cpu_seconds,
            self._meter.compile_seconds,
            self._device.peak_bytes(self._cell.device),
            kept,
            tokens,
        )

    def _corpus_size(self) -> CorpusSize:
        train = self._text.train.tokens
        unknown = float(self._text.counts[UNK]) / len(train)
        return CorpusSize(len(self._text.vocabulary), len(train), unknown)


def _flat(sizes: Sizes | None) -> tuple[int | None, int | None]:
    return (sizes.parameters, sizes.bytes) if sizes else (None, None)
