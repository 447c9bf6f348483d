"""The dask executor: submits cells as tasks to a dask cluster."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Collection
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import dask
from distributed import CancelledError, Client, Event
from distributed.scheduler import KilledWorker

from lmgrid.engine import Executor, ExecutorContext, Resources
from lmgrid.errors import UserError
from lmgrid.execution.executors import check_jobs, fits_beside
from lmgrid.execution.job import Job
from lmgrid.execution.messages import dispatch
from lmgrid.execution.supervise import Termination, store_failure
from lmgrid.records.record import Outcome
from lmgrid_dask.capacity import Capacity, have_capacity
from lmgrid_dask.local import open_local
from lmgrid_dask.queues import open_queue, submit_jobs
from lmgrid_dask.task import RunInfo, run_cell

if TYPE_CHECKING:
    from lmgrid_dask.parts import DaskPart

STALE_SECONDS = 1.0  # how long a list of workers is reused
CONNECT_SECONDS = 30.0  # within which a running scheduler must answer; ``wait`` may be longer
GRACE_SECONDS = 5.0  # for cells to report that they ended; after it they count as ended


@dataclass(frozen=True)
class _Submitted:
    """A cell that was submitted; if ``workers`` is not empty, it may run only on these."""

    job: Job
    asked: Capacity
    workers: frozenset[str]

    def may_run_on(self, workers: dict[str, Capacity]) -> bool:
        named = self.workers or workers.keys()
        return any(workers[name].holds(self.asked) for name in named & workers.keys())


class DaskExecutor(Executor):
    """Submits only as many cells as fit on the workers, so that none waits unseen in the scheduler.

    If the process of a cell dies, ``supervise`` makes an outcome of it. If a worker dies, its cell
    is tried again.
    """

    def __init__(self, options: DaskPart, context: ExecutorContext) -> None:
        self._options, self._context = options, context
        self._jobs: dict[str, Job] = {}
        self._open: dict[Future[Outcome | None], _Submitted] = {}
        self._run_info = RunInfo(f"lmgrid-{uuid4().hex}", options.shared)
        self._renew: Callable[[], None] = lambda: None
        self._held = ExitStack()
        try:
            self._client = self._connect()
        except BaseException:
            self._held.close()
            raise
        self._soon, self._now = self._run_info.stops(self._client)
        self._client.subscribe_topic(self._run_info.topic, self._on_message)
        self._closed = False
        self._workers: dict[str, Capacity] = {}
        self._looked = 0.0
        Thread(target=self._tend, daemon=True).start()

    def _connect(self) -> Client:
        deadline = monotonic() + self._options.wait
        try:
            target = self._options.address or self._start_cluster()
            seconds = min(self._options.wait, CONNECT_SECONDS)
            client: Client = self._held.enter_context(_connect(target, seconds))
            self._await_worker(client, deadline)
        except (OSError, TimeoutError) as error:
            raise UserError(f"dask: no worker could be reached: {error}") from None
        return client

    def _await_worker(self, client: Client, deadline: float) -> None:
        """Wait for the first worker, or until the run is stopped."""
        while not self._context.stop.graceful.is_set():
            try:
                client.wait_for_workers(1, timeout=STALE_SECONDS)
            except TimeoutError:
                if monotonic() > deadline:
                    raise TimeoutError(f"none came within {self._options.wait:g} s") from None
            else:
                return

    def _start_cluster(self) -> Any:
        self._held.enter_context(
            dask.config.set({"distributed.scheduler.allowed-failures": self._options.retries})
        )
        jobs, queue = max(1, self._context.jobs), self._options.jobqueue
        if queue is None:
            check_jobs(jobs, (Resources(),))
            return self._held.enter_context(
                open_local(
                    n_workers=jobs,
                    threads_per_worker=os.cpu_count() or 1,  # -j and check_jobs bound them all
                    resources={self._options.gpu: 1},
                )
            )
        cluster = open_queue(queue)
        self._held.enter_context(cluster)
        submit_jobs(cluster, jobs)
        # It starts only jobs that ended again, and none once the cluster closes, because closing
        # happens in the same thread.
        self._renew = partial(cluster.loop.add_callback, cluster.scale, jobs=jobs)
        return cluster

    # ------------------------------------------------------------ capacity

    @property
    def _is_here(self) -> bool:
        """Whether the workers are processes of this machine."""
        return not self._options.remote

    def check(self, resources: Resources) -> None:
        if self._is_here:
            check_jobs(self._context.jobs, (resources,))
        asked = self._room(resources)
        if self._context.stop.graceful.is_set() or have_capacity([asked], self._look().values()):
            return
        gpu = f"{self._options.gpu}=1"
        named = {gpu: f"--resources '{gpu}'"} if asked.units else {}
        if asked.threads > 1 or not named:
            named = {f"{asked.threads} threads": f"--nthreads {asked.threads}"} | named
        raise UserError(
            f"dask: no worker offers {' and '.join(named)}, which a cell on {resources.device} "
            f"asks for; start one with dask worker {' '.join(named.values())}"
        )

    def fits(self, resources: Resources, running: Collection[Resources]) -> bool:
        if self._is_here and not fits_beside(resources, running, self._context.jobs):
            return False
        asked = (self._room(cell) for cell in (resources, *running))
        return have_capacity(asked, self._look().values())

    def _room(self, resources: Resources) -> Capacity:
        return Capacity(float(resources.device != "cpu"), resources.threads)

    def _look(self) -> dict[str, Capacity]:
        if monotonic() - self._looked > STALE_SECONDS:
            found = self._client.scheduler_info(n_workers=-1)["workers"]
            self._workers = {
                name: Capacity(
                    (w.get("resources") or {}).get(self._options.gpu, 0.0), w["nthreads"]
                )
                for name, w in found.items()
            }
            self._looked = monotonic()
        return self._workers

    # ------------------------------------------------------------ cells

    def submit(self, job: Job, resources: Resources) -> Future[Outcome | None]:
        self._jobs[job.inputs.address] = job
        submitted = self._address(job, self._room(resources))
        task = self._client.submit(
            run_cell,
            job,
            self._run_info,
            key=f"lmgrid-{job.inputs.address}-{uuid4().hex[:8]}",
            resources={self._options.gpu: 1} if submitted.asked.units else {},
            workers=sorted(submitted.workers) or None,
            pure=False,
        )
        ended: Future[Outcome | None] = Future()
        self._open[ended] = submitted
        ended.add_done_callback(self._open.pop)
        task.add_done_callback(lambda done: _settle(ended, lambda: self._outcome(job, done)))
        return ended

    def _address(self, job: Job, asked: Capacity) -> _Submitted:
        """Restrict a cell to workers with enough threads, because dask does not check threads.

        Name no workers if all have enough, because a replacement of a dead worker has a new name.
        """
        workers = self._look()
        enough = frozenset(name for name, room in workers.items() if room.threads >= asked.threads)
        return _Submitted(job, asked, enough if len(enough) < len(workers) else frozenset())

    def _outcome(self, job: Job, task: Any) -> Any:
        try:
            result = task.result()
        except KilledWorker:
            tries = f"the workers that ran it died, {self._options.retries + 1} times"
            return store_failure(job, Termination("killed", tries), 0.0)
        except CancelledError as error:
            raise UserError(f"dask: the scheduler let its cells go: {error}") from None
        return None if result is None else result.deliver(job)

    def _tend(self) -> None:
        """Pass on that the run is stopped, and start jobs of the queue again that ended.

        After an immediate stop, wait GRACE_SECONDS for the outcomes of cells.
        """
        stop, told = self._context.stop, False
        while not self._closed and not stop.immediate.wait(STALE_SECONDS):
            if stop.graceful.is_set():
                told = told or _tell(self._soon)
            with suppress(OSError, RuntimeError):  # the scheduler has closed
                self._let_go()
            self._renew()
        if stop.immediate.is_set():
            _tell(self._soon)
            _tell(self._now)
            wait(tuple(self._open), GRACE_SECONDS)
            for ended in tuple(self._open):
                _settle(ended, lambda: None)

    def _let_go(self) -> None:
        """End the cells that no worker can run any more."""
        for ended, cell in tuple(self._open.items()):
            if cell.may_run_on(self._look()):
                continue
            if self._context.stop.graceful.is_set():
                _settle(ended, lambda: None)
            elif cell.workers:
                lost = Termination(
                    "killed", f"no worker is left that offers {cell.asked.threads} threads"
                )
                _settle(ended, partial(store_failure, cell.job, lost, 0.0))

    def _on_message(self, event: tuple[float, Any]) -> None:
        address, message = pickle.loads(event[1])
        dispatch(message, self._context.callbacks(self._jobs[address]))

    def close(self) -> None:
        self._closed = True
        self._client.unsubscribe_topic(self._run_info.topic)
        self._held.close()


def _connect(target: Any, seconds: float) -> Client:
    """Return a client of a scheduler. Raises TimeoutError where dask alone would wait for ever."""
    made: Future[Client] = Future()
    make = partial(Client, target, timeout=seconds, set_as_default=False)
    Thread(target=_settle, args=(made, make), daemon=True).start()
    try:
        return made.result(seconds + 1.0)  # dask's own error says more
    except TimeoutError as error:
        raise TimeoutError(str(error) or f"what listens at {target} is no scheduler") from None


def _settle(ended: Future[Outcome | None], result: Callable[[], Any]) -> None:
    """Set the result of a future, unless it already has one."""
    if ended.done():
        return
    value, error = None, None
    try:
        value = result()
    except BaseException as raised:
        error = raised
    with suppress(InvalidStateError):  # set by another thread
        if error is None:
            ended.set_result(value)
        else:
            ended.set_exception(error)


def _tell(event: Event) -> bool:
    """Set an event of the scheduler without waiting, because the scheduler may be gone."""

    def tell() -> None:
        with suppress(Exception):
            event.set()

    Thread(target=tell, daemon=True).start()
    return True
