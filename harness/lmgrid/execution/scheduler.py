"""Runs the cells of a grid that are left, side by side, where an executor puts them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from functools import partial
from itertools import chain
from operator import itemgetter
from threading import RLock

from lmgrid.callbacks import Callbacks, Live
from lmgrid.engine import Executor, ExecutorContext, ExecutorPart, Resources
from lmgrid.execution.attempt import LockedElsewhere
from lmgrid.execution.executors import InProcessExecutor
from lmgrid.execution.job import Job, RunOptions
from lmgrid.execution.local import LocalPart
from lmgrid.execution.plan import Planned
from lmgrid.execution.run import Run, RunListener
from lmgrid.execution.supervise import preload
from lmgrid.grid import Grid
from lmgrid.machine.environment import capture, now
from lmgrid.plugin.registry import Registry
from lmgrid.records.record import Failure, Outcome, Provenance
from lmgrid.records.store import Store, StoreError
from lmgrid.result import Point

Running = dict["Future[Outcome | None]", tuple[Planned, Resources]]


def run_grid(
    grid: Grid,
    store: Store,
    *,
    registry: Registry,
    executor: ExecutorPart | None = None,
    options: RunOptions | None = None,
    listener: RunListener | None = None,
) -> Iterator[Outcome]:
    """Run the cells that the store does not hold; yield the outcome of each cell, in order.

    By default cells run one after the other in this process. A cell that was not run, because the
    run was stopped or another cell failed with ``fail_fast``, yields nothing.
    """
    executor, options = executor or LocalPart(), options or RunOptions(jobs=0)
    run = Run(grid, store, registry, executor=executor, options=options)
    left = {planned.address for planned in run.remaining}
    coming = Scheduler(run, listener or RunListener()).outcomes()
    ended: dict[str, Outcome] = {}
    for planned in run.planned:
        # Cells end in another order than they are planned in: those that must not share the
        # machine run last.
        while planned.address in left and planned.address not in ended:
            found = next(coming, None)
            if found is None:
                break
            ended[found[0].address] = found[1]
        outcome = ended.pop(planned.address, None) or store.find(planned.address)
        if outcome is not None:
            yield outcome


class Scheduler:
    """Runs what is left of a run, once."""

    def __init__(self, run: Run, listener: RunListener) -> None:
        self._run = run
        self._queue = _Queue(run)
        self._announcer = _Announcer(run, listener)
        self._running: Running = {}
        self._failed: Planned | None = None  # the first cell that failed, with ``fail_fast``

    def outcomes(self) -> Iterator[tuple[Planned, Outcome]]:
        """Yield the outcomes of cells as they end, then those of cells that were not started.

        StoreError if an outcome cannot be stored; ValueError if no worker has what a cell needs.
        """
        run = self._run
        preload(dict.fromkeys(name for planned in run.remaining for name in planned.modules))
        with closing(self._executor()) as executor:
            for resources in self._queue.kinds:
                executor.check(resources)
            run.store.create()
            if run.invocation:
                run.store.record_invocation(run.invocation)
            while self._running or self._may_start:
                # Start every cell that fits beside those that are running.
                while self._may_start and (taken := self._queue.take(self._fits(executor))):
                    planned, resources = taken
                    wait_for_lock = self._queue.was_put_back(planned)
                    job = run.job(planned, wait_for_lock=wait_for_lock)
                    self._running[executor.submit(job, resources)] = taken
                # Wait until one of them ends, and pass on what came of it.
                done, _ = wait(self._running, return_when=FIRST_COMPLETED)
                for future in done:
                    planned, resources = self._running.pop(future)
                    outcome = self._result(future, planned, resources)
                    if outcome is not None:
                        self._announcer.finished(planned, outcome)
                        yield planned, outcome
        # With ``fail_fast``, the cells that were not started end as skipped.
        if self._failed:
            yield from ((planned, _skipped(planned, self._failed)) for planned in self._queue)

    def _executor(self) -> Executor:
        run = self._run
        context = ExecutorContext(
            jobs=run.options.jobs, stop=run.stop, callbacks=self._announcer.callbacks
        )
        if run.options.jobs == 0:
            return InProcessExecutor(context, run.registry)
        return run.executor.make(context)

    @property
    def _may_start(self) -> bool:
        stopped = self._run.stop.graceful.is_set()
        return bool(self._queue.kinds) and not self._failed and not stopped

    def _fits(self, executor: Executor) -> Callable[[Resources], bool]:
        """Return what says whether a cell can start now; if nothing is running, any can."""
        running = [resources for _, resources in self._running.values()]
        return lambda resources: not running or executor.fits(resources, running)

    def _result(
        self, future: Future[Outcome | None], planned: Planned, resources: Resources
    ) -> Outcome | None:
        """Return the outcome of a cell; None if it was stopped, or is put back into the queue."""
        try:
            outcome = future.result()
        except LockedElsewhere:
            self._queue.put_back(planned, resources)
            return None
        except StoreError:
            self._run.stop.immediate.set()  # nothing of the running cells could be stored
            raise
        if self._run.options.fail_fast and isinstance(outcome, Failure):
            self._failed = self._failed or planned
        return outcome


class _Queue:
    """The cells that are left: in the order of the grid, but those that are timed last."""

    def __init__(self, run: Run) -> None:
        left = [(planned, run.job(planned).resources) for planned in run.remaining]
        left.sort(key=lambda item: item[1].timed)
        # One queue for each kind of resources, so that a long queue is not asked cell by cell
        # whether one fits.
        self._queues: dict[Resources, deque[tuple[int, Planned]]] = {}
        for place, (planned, resources) in enumerate(left):
            self._queues.setdefault(resources, deque()).append((place, planned))
        self._end = len(left)
        self._put_back: set[str] = set()  # addresses of cells that another run had

    def put_back(self, planned: Planned, resources: Resources) -> None:
        """Put a cell that another run has behind all others."""
        self._put_back.add(planned.address)
        self._queues.setdefault(resources, deque()).append((self._end, planned))
        self._end += 1

    def was_put_back(self, planned: Planned) -> bool:
        """Return whether a cell was put back. Its lock may be waited for: no other cell is left."""
        return planned.address in self._put_back

    @property
    def kinds(self) -> tuple[Resources, ...]:
        """The resources that cells need, each once; empty when no cell is left."""
        return tuple(self._queues)

    def take(self, fits: Callable[[Resources], bool]) -> tuple[Planned, Resources] | None:
        """Remove and return the first cell that fits; None if none does."""
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


class _Announcer:
    """Tells the listener of each cell in order: started once, reports, finished, no more.

    Callbacks come from several threads, and from other machines perhaps after the outcome.
    """

    def __init__(self, run: Run, listener: RunListener) -> None:
        self._planned = {planned.address: planned for planned in run.planned}
        self._listener = listener
        self._lock = RLock()
        self._started: set[str] = set()
        self._finished: set[str] = set()

    def callbacks(self, job: Job) -> Callbacks:
        planned = self._planned[job.inputs.address]
        return Callbacks(
            begun=partial(self._start, planned),
            live=partial(self._live, planned),
            point=partial(self._point, planned),
        )

    def finished(self, planned: Planned, outcome: Outcome) -> None:
        with self._lock:
            self._start(planned)
            self._finished.add(planned.address)
            self._listener.finished(planned, outcome)

    def _start(self, planned: Planned) -> None:
        with self._lock:
            if planned.address not in self._started:
                self._started.add(planned.address)
                self._listener.started(planned)

    def _live(self, planned: Planned, live: Live) -> None:
        with self._lock:
            if planned.address not in self._finished:
                self._start(planned)
                self._listener.live(planned, live)

    def _point(self, planned: Planned, point: Point) -> None:
        with self._lock:
            if planned.address not in self._finished:
                self._start(planned)
                self._listener.point(planned, point)


def _skipped(planned: Planned, failed: Planned) -> Failure:
    """Return the outcome of a cell that was not started. It is shown and not stored."""
    return Failure(
        inputs=planned.inputs,
        status="skipped",
        error=f"--fail-fast: {failed.cell.label} failed",
        message="",
        traceback="",
        seconds=0.0,
        provenance=Provenance(capture(), now(), 1, 0.0),
    )
