"""Cells as tasks of a dask cluster."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import dask
from distributed import CancelledError, Client, Event, LocalCluster
from distributed.scheduler import KilledWorker

from lmgrid.errors import Mistake
from lmgrid.executors import check_jobs, fits_beside
from lmgrid.spec import Crew, Executor, Resources
from lmgrid.supervise import End, conclude
from lmgrid_dask.queues import open_queue, submit_jobs
from lmgrid_dask.task import Orders, run_cell

if TYPE_CHECKING:
    from lmgrid_dask.parts import Dask

STALE_SECONDS = 1.0  # how long what the scheduler said of its workers is believed
CONNECT_SECONDS = 30.0  # in which a scheduler that runs answers; ``wait`` may be a day


@dataclass(frozen=True)
class _Worker:
    threads: int
    resources: Mapping[str, float]

    def gives(self, threads: int, units: Mapping[str, float]) -> bool:
        has = self.resources
        return self.threads >= threads and all(has.get(k, 0) >= n for k, n in units.items())


class DaskExecutor(Executor):
    """Submits as many cells as there are workers, so that none waits where it cannot be taken back.

    A cell that kills its own process is an outcome, by ``supervise``; a worker that dies costs its
    cell another try.
    """

    def __init__(self, options: Dask, crew: Crew) -> None:
        self._options, self._crew = options, crew
        self._jobs: dict[str, Any] = {}
        self._orders = Orders(f"lmgrid-{uuid4().hex}", options.shared)
        self._renew: Callable[[], None] = lambda: None
        self._held = ExitStack()
        try:
            self._client = self._connect()
        except BaseException:
            self._held.close()
            raise
        self._stop = Event(self._orders.topic, client=self._client)
        self._client.subscribe_topic(self._orders.topic, self._hear)
        self._closed = False
        Thread(target=self._tend, daemon=True).start()
        self._workers: tuple[_Worker, ...] = ()
        self._looked = 0.0

    def _connect(self) -> Client:
        try:
            target = self._options.address or self._start_cluster()
            client: Client = self._held.enter_context(
                Client(
                    target,
                    timeout=min(self._options.wait, CONNECT_SECONDS),
                    set_as_default=False,
                )
            )
            self._await_worker(client)
        except (OSError, TimeoutError) as error:
            raise Mistake(f"dask: no worker could be reached: {error}") from None
        return client

    def _await_worker(self, client: Client) -> None:
        """Wait for the first worker, or until the run is stopped."""
        deadline = monotonic() + self._options.wait
        while not self._crew.halt.soon.is_set():
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
        if self._is_here:
            check_jobs(self._crew.jobs, (Resources(),))
            return self._held.enter_context(
                LocalCluster(
                    n_workers=max(1, self._crew.jobs),
                    threads_per_worker=1,
                    dashboard_address=None,
                    resources={self._options.gpu: 1},
                )
            )
        cluster, jobs = open_queue(self._options.jobqueue), max(1, self._crew.jobs)
        self._held.enter_context(cluster)
        submit_jobs(cluster, jobs)
        # It begins again those jobs alone that ended; and none any more once the cluster closes,
        # since that happens in the same thread.
        self._renew = partial(cluster.loop.add_callback, cluster.scale, jobs=jobs)
        return cluster

    # ------------------------------------------------------------ what there is

    @property
    def _is_here(self) -> bool:
        """Whether the workers are processes of this machine, which cells then share."""
        return not (self._options.address or self._options.jobqueue)

    def check(self, resources: Resources) -> None:
        if self._is_here:
            check_jobs(self._crew.jobs, (resources,))
        units = self._units(resources)
        if self._crew.halt.soon.is_set() or any(w.gives(1, units) for w in self._look()):
            return
        raise Mistake(
            f"dask: no worker offers {', '.join(f'{k}={n:g}' for k, n in units.items())}, which a "
            f"cell on {resources.device} asks for; start one with "
            f"dask worker --resources '{self._options.gpu}=1'"
        )

    def fits(self, resources: Resources, running: Collection[Resources]) -> bool:
        if self._is_here and not fits_beside(resources, running):
            return False
        return len(running) < sum(worker.threads for worker in self._look())

    def _units(self, resources: Resources) -> dict[str, float]:
        return {} if resources.device == "cpu" else {self._options.gpu: 1}

    def _look(self) -> tuple[_Worker, ...]:
        if monotonic() - self._looked > STALE_SECONDS:
            found = self._client.scheduler_info(n_workers=-1)["workers"].values()
            self._workers = tuple(_Worker(w["nthreads"], w.get("resources") or {}) for w in found)
            self._looked = monotonic()
        return self._workers

    # ------------------------------------------------------------ cells

    def submit(self, job: Any, resources: Resources) -> Future[Any]:
        self._jobs[job.inputs.address] = job
        task = self._client.submit(
            run_cell,
            job,
            self._orders,
            key=f"lmgrid-{job.inputs.address}-{uuid4().hex[:8]}",
            resources=self._units(resources),
            pure=False,
        )
        ended: Future[Any] = Future()
        task.add_done_callback(lambda done: _settle(ended, lambda: self._outcome(job, done)))
        return ended

    def _outcome(self, job: Any, task: Any) -> Any:
        try:
            parcel = task.result()
        except KilledWorker:
            tries = f"the workers that ran it died, {self._options.retries + 1} times"
            return conclude(job, End("killed", tries), 0.0)
        except CancelledError as error:
            raise Mistake(f"dask: the scheduler let its cells go: {error}") from None
        return None if parcel is None else parcel.deliver(job)

    def _tend(self) -> None:
        """Pass on that the run is stopped at once; have the queue begin again what jobs ended."""
        while not self._closed:
            if self._crew.halt.now.wait(STALE_SECONDS):
                self._stop.set()
                return
            self._renew()

    def _hear(self, event: tuple[float, Any]) -> None:
        address, message = pickle.loads(event[1])
        self._crew.hear(self._jobs[address], message)

    def close(self) -> None:
        self._closed = True
        self._client.unsubscribe_topic(self._orders.topic)
        self._held.close()


def _settle(ended: Future[Any], result: Callable[[], Any]) -> None:
    try:
        ended.set_result(result())
    except BaseException as error:
        ended.set_exception(error)
