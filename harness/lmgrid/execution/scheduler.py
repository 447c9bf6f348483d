"""Cells to outcomes, side by side, wherever an executor runs them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from operator import itemgetter
from typing import Any

from lmgrid.cell.training import Live
from lmgrid.engine import Executor, ExecutorContext, Resources, StopSignal
from lmgrid.execution.attempt import Job, LockedElsewhere, Retry, attempt, stands
from lmgrid.execution.executors import InProcessExecutor, LocalExecutor, has_machine
from lmgrid.execution.plan import Planned, place_of, plan
from lmgrid.execution.supervise import preload
from lmgrid.grid import AnyCell, Grid, KernelCell
from lmgrid.machine.environment import capture, now
from lmgrid.plugin.registry import Registry
from lmgrid.records.history import Request
from lmgrid.records.record import Failure, Outcome, Provenance
from lmgrid.records.store import Store, StoreError
from lmgrid.result import Point
from lmgrid.spec import Place

MakeExecutor = Callable[[ExecutorContext], Executor]
Running = dict["Future[Any]", tuple[Planned, Resources]]


@dataclass(frozen=True)
class Manner:
    """How cells are executed. None of it decides a number; only times may feel ``jobs``.

    ``retry`` says what is run beside the cells without any outcome. ``fail_fast`` starts no cell
    after one has failed.
    """

    jobs: int = 1
    timeout: float | None = None  # seconds of wall time a cell, from when it holds its lock
    keep_weights: bool = True
    memory: int | None = None  # bytes a cell may hold
    retry: Retry = "failed"
    fail_fast: bool = False
    remote: bool = False  # cells side by side are on other machines


class Listener:
    """Hears of a run; each method does nothing unless a subclass does."""

    def started(self, planned: Planned) -> None: ...

    def live(self, planned: Planned, live: Live) -> None: ...

    def point(self, planned: Planned, point: Point) -> None: ...

    def finished(self, planned: Planned, outcome: Outcome) -> None: ...


@dataclass(frozen=True)
class Run:
    """A planned grid and what its execution needs."""

    grid: Grid
    store: Store
    planned: tuple[Planned, ...]
    manner: Manner = Manner()
    stop: StopSignal = field(default_factory=StopSignal)
    request: Request | None = None  # kept in the results folder

    def job(self, planned: Planned) -> Job:
        manner = self.manner
        return Job(
            planned.cell,
            planned.inputs,
            self.store.root.absolute(),  # a cell may change the working folder
            self._place,
            self._beside(planned),
            manner.keep_weights,
            planned.libraries,
            manner.timeout,
            manner.memory,
            manner.retry,
        )

    @cached_property
    def _place(self) -> Place:
        return place_of(self.grid)

    def _beside(self, planned: Planned) -> int:
        """Return how many cells of the run share a machine with this one, itself included."""
        manner = self.manner
        alone = manner.remote or has_machine(resources_of(planned, manner))
        return 1 if alone else max(1, manner.jobs)

    @cached_property
    def remaining(self) -> tuple[Planned, ...]:
        return tuple(p for p in self.planned if self._is_due(p))

    def _is_due(self, planned: Planned) -> bool:
        retry = self.manner.retry
        if not planned.recorded:
            return retry != "none" or self.store.find(planned.address) is None
        if retry not in ("contended", "other-libraries"):
            return False
        found = self.store.find(planned.address)
        return found is not None and not stands(found, self.job(planned))


def is_timed(cell: AnyCell) -> bool:
    """Return whether a time is what a cell is run for, or decides how long it learns."""
    if isinstance(cell, KernelCell):
        return True
    return cell.budget is not None and (cell.budget.seconds, cell.budget.cpu_seconds) != (
        None,
        None,
    )


def resources_of(planned: Planned, manner: Manner) -> Resources:
    cell = planned.cell
    return Resources(cell.threads, cell.device, manner.memory, is_timed(cell))


def run_here(grid: Grid, store: Store, registry: Registry) -> Iterator[Outcome]:
    """Run what is left in this process; yield the outcome of every cell of the grid, in order."""
    store.begin()
    run = Run(grid, store, plan(grid, store, registry))
    for planned in run.planned:
        found = store.find(planned.address) if planned.recorded else None
        yield found or attempt(run.job(planned), registry)


def executor_here(registry: Registry) -> MakeExecutor:
    """Return what makes the executor of ``-j 0``."""
    return lambda context: InProcessExecutor(context, registry)


def execute(
    run: Run, listener: Listener, make: MakeExecutor = LocalExecutor
) -> Iterator[tuple[Planned, Outcome]]:
    """Run what is left; yield outcomes as they come, then those that were not begun and why."""
    preload(dict.fromkeys(name for planned in run.remaining for name in planned.modules))
    context = ExecutorContext(run.manner.jobs, run.stop, _Hearing(run, listener).on_message)
    with closing(make(context)) as executor:
        yield from _Execution(run, listener, executor).outcomes()


class _Hearing:
    """Passes on what the cells say, with their plan."""

    def __init__(self, run: Run, listener: Listener) -> None:
        self._planned = {planned.address: planned for planned in run.planned}
        self._listener = listener

    def on_message(self, job: Job, message: Live | Point) -> None:
        planned = self._planned[job.inputs.address]
        if isinstance(message, Live):
            self._listener.live(planned, message)
        else:
            self._listener.point(planned, message)


class _Waiting:
    """The cells that are left, in order, what is timed last; iterating yields them."""

    def __init__(self, run: Run) -> None:
        left = [(p, resources_of(p, run.manner)) for p in run.remaining]
        left.sort(key=lambda item: item[1].timed)
        # By what they need, so that a long queue is not asked cell by cell whether one fits.
        self._queues: dict[Resources, deque[tuple[int, Planned]]] = {}
        for place, (planned, resources) in enumerate(left):
            self._queues.setdefault(resources, deque()).append((place, planned))
        self._end = len(left)
        self._held: set[str] = set()  # addresses that another run had

    def put_back(self, planned: Planned, resources: Resources) -> None:
        """Let a cell that another run has wait behind all others."""
        self._held.add(planned.address)
        self._queues.setdefault(resources, deque()).append((self._end, planned))
        self._end += 1

    def was_held(self, planned: Planned) -> bool:
        """Return whether a cell was put back, and so may be waited for: none else is left."""
        return planned.address in self._held

    @property
    def kinds(self) -> tuple[Resources, ...]:
        """What the cells need, each once; nothing when no cell is left."""
        return tuple(self._queues)

    def take(self, fits: Callable[[Resources], bool]) -> tuple[Planned, Resources] | None:
        """Take away the first cell that fits, if any does."""
        fitting = filter(fits, self._queues)
        kind = min(fitting, key=lambda resources: self._queues[resources][0][0], default=None)
        if kind is None:
            return None
        planned = self._queues[kind].popleft()[1]
        if not self._queues[kind]:
            del self._queues[kind]
        return planned, kind

    def __iter__(self) -> Iterator[Planned]:
        places = sorted(chain.from_iterable(self._queues.values()), key=itemgetter(0))
        return (planned for _, planned in places)


class _Execution:
    """One pass over the cells that are left."""

    def __init__(self, run: Run, listener: Listener, executor: Executor) -> None:
        self._run, self._listener, self._executor = run, listener, executor
        self._waiting = _Waiting(run)
        for resources in self._waiting.kinds:
            executor.check(resources)
        self._running: Running = {}
        self._failed: Planned | None = None

    def outcomes(self) -> Iterator[tuple[Planned, Outcome]]:
        self._run.store.begin()
        if self._run.request:
            self._run.store.keep_request(self._run.request)
        while self._running or self._may_begin:
            self._begin()
            done, _ = wait(self._running, return_when=FIRST_COMPLETED)
            for future in done:
                planned, resources = self._running.pop(future)
                outcome = self._result(future, planned, resources)
                if outcome is not None:
                    self._end(planned, outcome)
                    yield planned, outcome
        if self._failed:
            yield from ((planned, _skipped(planned, self._failed)) for planned in self._waiting)

    def _result(
        self, future: Future[Any], planned: Planned, resources: Resources
    ) -> Outcome | None:
        """Return what came of a cell; None if it was stopped, or waits for another run."""
        try:
            outcome: Outcome | None = future.result()
        except LockedElsewhere:
            self._waiting.put_back(planned, resources)
            return None
        except StoreError:
            self._run.stop.immediate.set()  # nothing of what still runs could be kept
            raise
        return outcome

    @property
    def _may_begin(self) -> bool:
        return (
            bool(self._waiting.kinds) and not self._failed and not self._run.stop.graceful.is_set()
        )

    def _begin(self) -> None:
        while self._may_begin and (found := self._waiting.take(self._fits)):
            planned, resources = found
            job = replace(self._run.job(planned), wait_for_lock=self._waiting.was_held(planned))
            future = self._executor.submit(job, resources)
            self._running[future] = found
            self._listener.started(planned)

    def _fits(self, resources: Resources) -> bool:
        """Return whether a cell can begin; with nothing running, any can."""
        running = [resources for _, resources in self._running.values()]
        return not running or self._executor.fits(resources, running)

    def _end(self, planned: Planned, outcome: Outcome) -> None:
        if self._run.manner.fail_fast and isinstance(outcome, Failure):
            self._failed = self._failed or planned
        self._listener.finished(planned, outcome)


def _skipped(planned: Planned, failed: Planned) -> Failure:
    """Return the end of a cell that was not begun. It is told and not stored."""
    why = f"--fail-fast: {failed.cell.label} failed"
    provenance = Provenance(capture(), now(), 1, 0.0)
    return Failure(planned.inputs, "skipped", why, "", "", 0.0, provenance)
