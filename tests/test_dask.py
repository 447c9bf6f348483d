"""Laws of the dask executor: a worker's death costs its cell another try, and nothing else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("distributed", reason="needs the extra lmgrid[dask]")

from lmgrid.errors import Mistake
from lmgrid.execute import Listener, Manner, Run, execute
from lmgrid.grid import Grid
from lmgrid.plan import Planned, plan
from lmgrid.record import Failure, Record
from lmgrid.registry import Registry
from lmgrid.spec import Crew, Halt, Resources
from lmgrid.store import Store
from lmgrid.training import Live
from lmgrid_dask.parts import Dask

FAULTS = Path(__file__).parent / "faults"
QUIET = ["--no-dashboard", "--host", "127.0.0.1"]
MakeGrid = Callable[..., Grid]
pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of dask's own
    pytest.mark.timeout(180),
]


@dataclass(frozen=True)
class Cluster:
    """A scheduler and two workers, the second under a nanny, as processes on loopback."""

    address: str
    workers: tuple[subprocess.Popen[bytes], ...]


def start(*arguments: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(FAULTS), *filter(None, sys.path)])
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    scheduler = start("scheduler", "--port", str(port), *QUIET)
    worker = ("worker", address, "--nthreads", "1", *QUIET)
    workers = start(*worker, "--no-nanny"), start(*worker, "--nanny")
    try:
        yield Cluster(address, workers)
    finally:
        for process in (*workers, scheduler):
            process.terminate()
        for process in (*workers, scheduler):
            process.wait(30)


class Killer(Listener):
    """Kills a worker as soon as two cells have said how they go."""

    def __init__(self, victim: subprocess.Popen[bytes]) -> None:
        self._victim, self._heard = victim, set[str]()

    def live(self, planned: Planned, live: Live) -> None:
        self._heard.add(planned.address)
        if len(self._heard) == 2:
            self._victim.kill()


@pytest.mark.slow
def test_an_accelerator_that_no_worker_has_is_refused(cluster: Cluster) -> None:
    """What would wait for ever is a mistake before anything is submitted."""
    executor = Dask(address=cluster.address).make(Crew(1, Halt(), lambda job, message: None))
    try:
        executor.check(Resources())
        with pytest.raises(Mistake, match="no worker offers GPU=1"):
            executor.check(Resources(device="cuda:0"))
    finally:
        executor.close()


@pytest.mark.slow
def test_a_folder_that_is_not_shared_gets_everything(
    cluster: Cluster, make_grid: MakeGrid, registry: Registry, tmp_path: Path
) -> None:
    """Records, weights and failures come back; a cell that kills its process is a status."""
    store = Store(tmp_path / "apart")
    grid = make_grid('[[models]]\nname = "counts"\nfault = ["kill", ""]')
    run = Run(grid, store, plan(grid, store, registry))
    apart = Dask(address=cluster.address, shared=False)
    found = [outcome for _, outcome in execute(run, Listener(), apart.make)]
    ends = sorted(o.status if isinstance(o, Failure) else "done" for o in found)
    assert ends == ["done", "killed"]
    assert store.count() == 2
    assert list(store.damages()) == []
    assert len(list((store.root / "models").iterdir())) == 1


@pytest.mark.slow
def test_a_killed_worker_costs_no_cell(
    cluster: Cluster, make_grid: MakeGrid, registry: Registry, tmp_path: Path
) -> None:
    """One of two workers dies in the middle of a cell; the grid ends with every cell done."""
    store = Store(tmp_path / "shared")
    priors = "prior = [1.0, 2.0, 3.0, 4.0]"
    grid = make_grid(f'[[models]]\nname = "counts"\nsteps = 4\npause = 0.3\n{priors}')
    run = Run(grid, store, plan(grid, store, registry))
    killer = Killer(cluster.workers[0])
    ended = dict(execute(run, killer, Dask(address=cluster.address).make))
    assert cluster.workers[0].wait(10) != 0
    assert len(ended) == 4
    assert all(isinstance(outcome, Record) for outcome in ended.values())


def test_a_scheduler_that_is_not_there_is_a_mistake() -> None:
    """It is told in one sentence, soon."""
    with pytest.raises(Mistake, match="no worker could be reached"):
        Dask(address="tcp://127.0.0.1:9", wait=1.0).make(Crew(1, Halt(), lambda job, message: None))


@pytest.mark.slow
def test_a_cluster_of_this_machine(make_grid: MakeGrid, registry: Registry, tmp_path: Path) -> None:
    """Without an address the workers are processes here, and stopping at once ends a cell."""
    store = Store(tmp_path / "results")
    grid = make_grid('[[models]]\nname = "counts"\nfault = ["", "sleep"]')

    class Stopper(Listener):
        def finished(self, planned: Planned, outcome: object) -> None:
            halt.ask()
            halt.ask()

    halt = Halt()
    run = Run(grid, store, plan(grid, store, registry), Manner(jobs=2), halt)
    assert len(list(execute(run, Stopper(), Dask().make))) == 1
    assert [getattr(outcome, "status", "done") for outcome in store] == ["done"]
