"""Laws of the dask executor: a worker's death costs its cell another try, and nothing else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from click.testing import CliRunner

pytest.importorskip("distributed", reason="needs the extra lmgrid[dask]")

from lmgrid.cli import main
from lmgrid.errors import Mistake
from lmgrid.execute import Listener, Manner, Run, execute
from lmgrid.grid import Grid, KernelCell, Part
from lmgrid.plan import Planned, plan
from lmgrid.record import Failure, Inputs, Record
from lmgrid.registry import Registry
from lmgrid.spec import Crew, Halt, Place, Resources
from lmgrid.store import Store
from lmgrid.training import Live
from lmgrid.worker import Job
from lmgrid_dask import task
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
        for process in (*workers, scheduler):  # which workers that close would look for in vain
            process.terminate()
            process.wait(30)


class Killer(Listener):
    """Kills a worker as soon as two cells have said how they go."""

    def __init__(self, victim: subprocess.Popen[bytes]) -> None:
        self._victim, self._heard = victim, set[str]()

    def live(self, planned: Planned, live: Live) -> None:
        self._heard.add(planned.address)
        if len(self._heard) == 2:
            self._victim.kill()


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """Stand for a cluster of four workers with a thread each and an accelerator."""
    client = MagicMock()
    client.__enter__.return_value = client
    workers = {name: {"nthreads": 1, "resources": {"GPU": 1}} for name in "abcd"}
    client.scheduler_info.return_value = {"workers": workers}
    for name in ("Client", "LocalCluster", "Event"):
        monkeypatch.setattr(f"lmgrid_dask.executor.{name}", MagicMock(return_value=client))
    monkeypatch.setattr("lmgrid.executors.usable_cores", lambda: 4)
    return client


@pytest.fixture
def job(tmp_path: Path) -> Job:
    cell = KernelCell(Part("sum"), "cpu", 1)
    return Job(cell, Inputs.of(cell, "", ()), tmp_path, Place(tmp_path, tmp_path))


def crew(jobs: int) -> Crew:
    return Crew(jobs, Halt(), lambda job, message: None)


@pytest.mark.usefixtures("scheduler")
@pytest.mark.parametrize(("address", "here"), [("", True), ("tcp://elsewhere:8786", False)])
def test_cells_of_one_machine_do_not_share_what_is_timed(address: str, here: bool) -> None:
    """On workers of this machine a kernel runs alone, and its accelerator has one cell."""
    with closing(Dask(address=address).make(crew(4))) as executor:
        gpu, cpu = Resources(device="cuda:0"), Resources()
        assert executor.fits(cpu, [cpu, gpu])
        assert executor.fits(gpu, [gpu]) != here
        assert executor.fits(Resources(timed=True), [cpu]) != here
        assert executor.fits(cpu, [Resources(timed=True)]) != here
        assert not executor.fits(cpu, [cpu] * 4)


def test_workers_of_this_machine_share_no_core(scheduler: MagicMock) -> None:
    """More of them than cores are refused before any is started, as without dask."""
    with pytest.raises(Mistake, match="at most -j 4"):
        Dask().make(crew(5))
    scheduler.scheduler_info.assert_not_called()
    with closing(Dask().make(crew(4))) as executor:
        executor.check(Resources(threads=1))
        with pytest.raises(Mistake, match="at most -j 2"):
            executor.check(Resources(threads=2))
    with closing(Dask(address="tcp://elsewhere:8786").make(crew(5))) as executor:
        executor.check(Resources(threads=2))


@pytest.mark.parametrize("shared", [True, False])
def test_a_cell_that_ended_leaves_no_thread(
    monkeypatch: pytest.MonkeyPatch, job: Job, shared: bool
) -> None:
    """What waits for the word to stop ends with its cell, and a worker runs many."""
    for name in ("get_client", "get_worker"):
        monkeypatch.setattr(task, name, MagicMock())
    quiet = MagicMock(return_value=MagicMock(is_set=lambda: False))
    monkeypatch.setattr(task, "Event", quiet)
    monkeypatch.setattr(task, "supervise", lambda job, hear, halt: None)
    before = set(threading.enumerate())
    assert task.run_cell(job, task.Orders("topic", shared)) is None
    deadline = time.monotonic() + 10
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) <= before


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
def test_an_accelerator_need_not_be_here(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grid for other machines is read here without their devices; they are asked, not this."""
    pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("a b c\n" * 9)
    Path("g.toml").write_text(
        '[[corpora]]\nname = "file"\ntrain = "a.txt"\nvalid = "a.txt"\ntest = "a.txt"\n'
        '[[models]]\nname = "window"\noptimizers = ["sgd"]\ndevices = ["cuda"]\n'
    )
    where = f"dask[address={cluster.address}]"
    there = CliRunner().invoke(main, ["run", "g.toml", "--executor", where])
    assert (there.exit_code, "no worker offers GPU=1" in there.stderr) == (2, True), there.output
    here = CliRunner().invoke(main, ["run", "g.toml"])
    assert (here.exit_code, "'cuda' is not on this machine" in here.stderr) == (2, True)


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


def test_a_cell_asks_for_its_accelerator(scheduler: MagicMock, job: Job) -> None:
    """It asks its worker for one unit, under the name that the options give it."""
    with closing(Dask(gpu="GPU").make(crew(1))) as executor:
        for device, units in (("cuda:0", {"GPU": 1}), ("cpu", {})):
            executor.submit(job, Resources(device=device))
            assert scheduler.submit.call_args.kwargs["resources"] == units


def test_a_scheduler_that_goes_is_a_mistake(scheduler: MagicMock, job: Job) -> None:
    """Its cells are let go, and nothing ends them elsewhere; the run says so and ends."""
    lost = MagicMock()
    lost.result.side_effect = CancelledError("the connection is lost")
    lost.add_done_callback = lambda call: call(lost)
    scheduler.submit.return_value = lost
    with closing(Dask().make(crew(1))) as executor:
        ended = executor.submit(job, Resources())
        with pytest.raises(Mistake, match="let its cells go: the connection is lost"):
            ended.result(timeout=10)


@pytest.mark.slow
def test_a_cell_has_so_many_tries(make_grid: MakeGrid, registry: Registry, tmp_path: Path) -> None:
    """One whose workers die each time is given up; one that dies alone has no other try."""
    store = Store(tmp_path / "results")
    grid = make_grid('[[models]]\nname = "counts"\nfault = ["orphan", "kill", ""]')
    run = Run(grid, store, plan(grid, store, registry), Manner(jobs=1))
    found = [outcome for _, outcome in execute(run, Listener(), Dask(retries=1).make)]
    ends = [o.error if isinstance(o, Failure) else "done" for o in found]
    assert sorted(ends) == ["SIGKILL", "done", "the workers that ran it died, 2 times"]
    assert {o.status for o in found if isinstance(o, Failure)} == {"killed"}


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
