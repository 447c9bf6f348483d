"""Laws of the dask executor: a worker's death costs its cell another try, and nothing else."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from click.testing import CliRunner

pytest.importorskip("distributed", reason="needs the extra lmgrid[dask]")

from lmgrid.callbacks import Callbacks, Live
from lmgrid.cli import main
from lmgrid.engine import ExecutorContext, Resources, StopSignal
from lmgrid.errors import UserError
from lmgrid.execution.attempt import LockedElsewhere
from lmgrid.execution.job import Job, RunOptions
from lmgrid.execution.plan import Planned
from lmgrid.execution.run import Run, RunListener
from lmgrid.execution.scheduler import Scheduler
from lmgrid.grid import Grid, KernelCell, Part
from lmgrid.plugin.registry import Registry
from lmgrid.records.record import Failure, Inputs, Record
from lmgrid.records.store import Store
from lmgrid.spec import Place
from lmgrid_dask import task
from lmgrid_dask.parts import DaskPart

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


class Killer(RunListener):
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
    for name in ("executor.Client", "executor.open_local", "task.Event"):
        monkeypatch.setattr(f"lmgrid_dask.{name}", MagicMock(return_value=client))
    monkeypatch.setattr("lmgrid.execution.executors.usable_cores", lambda: 4)
    return client


@pytest.fixture
def job(tmp_path: Path) -> Job:
    cell = KernelCell(Part("sum"), "cpu", 1)
    place = Place(tmp_path, tmp_path)
    inputs = Inputs.of(cell)
    return Job(cell=cell, inputs=inputs, root=tmp_path, place=place, options=RunOptions())


def executor_context(jobs: int) -> ExecutorContext:
    return ExecutorContext(jobs=jobs, stop=StopSignal(), callbacks=lambda job: Callbacks())


@pytest.mark.usefixtures("scheduler")
@pytest.mark.parametrize(("address", "here"), [("", True), ("tcp://elsewhere:8786", False)])
def test_cells_of_one_machine_do_not_share_what_is_timed(address: str, here: bool) -> None:
    """On workers of this machine a kernel runs alone, and its accelerator has one cell."""
    with closing(DaskPart(address=address).make(executor_context(4))) as executor:
        gpu, cpu = Resources(device="cuda:0"), Resources()
        assert executor.fits(cpu, [cpu, gpu])
        assert executor.fits(gpu, [gpu]) != here
        assert executor.fits(Resources(timed=True), [cpu]) != here
        assert executor.fits(cpu, [Resources(timed=True)]) != here
        assert not executor.fits(cpu, [cpu] * 4)


def test_workers_of_this_machine_share_no_core(scheduler: MagicMock) -> None:
    """More of them than cores are refused before any is started, as without dask."""
    with pytest.raises(UserError, match="at most -j 4"):
        DaskPart().make(executor_context(5))
    scheduler.scheduler_info.assert_not_called()
    with closing(DaskPart().make(executor_context(4))) as executor:
        executor.check(Resources(threads=1))
        with pytest.raises(UserError, match="at most -j 2"):
            executor.check(Resources(threads=2))


def have(scheduler: MagicMock, *workers: tuple[int, int]) -> None:
    """Let the cluster have such workers: threads and accelerators of each."""
    scheduler.scheduler_info.return_value = {
        "workers": {
            f"tcp://w{i}:1": {"nthreads": threads, "resources": {"GPU": units}}
            for i, (threads, units) in enumerate(workers)
        }
    }


def test_no_worker_has_more_cells_than_threads_and_units(scheduler: MagicMock) -> None:
    """A cell takes its threads and its accelerator of one worker; what is left is not counted."""
    have(scheduler, (8, 1))
    gpu, cpu, wide = Resources(device="cuda"), Resources(), Resources(threads=4)
    with closing(DaskPart(address="tcp://elsewhere:8786").make(executor_context(1))) as executor:
        assert executor.fits(gpu, [cpu])
        assert not executor.fits(gpu, [gpu])
        assert executor.fits(wide, [wide])
        assert not executor.fits(wide, [wide, cpu])
        assert executor.fits(wide, [cpu] * 4)
        assert not executor.fits(cpu, [cpu] * 8)
        assert not executor.fits(Resources(threads=5), [wide])


def test_what_no_worker_offers_is_refused(scheduler: MagicMock) -> None:
    """Threads and accelerators of different workers do not add up; the sentence says what lacks."""
    have(scheduler, (2, 1), (3, 0))
    with closing(DaskPart(address="tcp://elsewhere:8786").make(executor_context(1))) as executor:
        executor.check(Resources(threads=3))
        executor.check(Resources(threads=2, device="cuda"))
        with pytest.raises(UserError, match="no worker offers 4 threads, which a cell on cpu"):
            executor.check(Resources(threads=4))
        with pytest.raises(UserError, match="no worker offers 3 threads and GPU=1") as told:
            executor.check(Resources(threads=3, device="cuda"))
        assert "dask worker --nthreads 3 --resources 'GPU=1'" in str(told.value)


def test_a_cell_goes_to_a_worker_with_threads_enough(scheduler: MagicMock, job: Job) -> None:
    """Dask does not know of a cell's threads, and is told which workers have them, if not all."""
    have(scheduler, (1, 0), (4, 0))
    with closing(DaskPart(address="tcp://elsewhere:8786").make(executor_context(1))) as executor:
        for threads, named in ((4, ["tcp://w1:1"]), (1, None)):
            executor.submit(job, Resources(threads=threads))
            assert scheduler.submit.call_args.kwargs["workers"] == named


def test_a_cell_whose_workers_are_gone_is_no_cell_to_wait_for(
    scheduler: MagicMock, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None else has the threads it asks for; it ends as killed, and is tried by the next run."""
    monkeypatch.setattr("lmgrid_dask.executor.STALE_SECONDS", 0.05)
    Store(job.root).create()
    have(scheduler, (1, 0), (4, 0))
    with closing(DaskPart(address="tcp://elsewhere:8786").make(executor_context(1))) as executor:
        cell = executor.submit(job, Resources(threads=4))
        have(scheduler, (1, 0))
        outcome = cell.result(timeout=10)
        assert isinstance(outcome, Failure)
        assert outcome.error == "no worker is left that offers 4 threads"


@pytest.mark.parametrize("asks", [1, 2])
def test_stopping_does_not_wait_for_workers_that_are_gone(
    scheduler: MagicMock, job: Job, monkeypatch: pytest.MonkeyPatch, asks: int
) -> None:
    """A cell that no worker runs is let go at the first Ctrl-C, and any at the second."""
    monkeypatch.setattr("lmgrid_dask.executor.STALE_SECONDS", 0.05)
    monkeypatch.setattr("lmgrid_dask.executor.GRACE_SECONDS", 0.05)
    stopping = executor_context(1)
    with closing(DaskPart().make(stopping)) as executor:
        cell = executor.submit(job, Resources())
        if asks == 1:
            have(scheduler)
        for _ in range(asks):
            stopping.stop.request()
        assert cell.result(timeout=10) is None
        assert scheduler.set.called


def test_threads_of_a_worker_are_taken_once() -> None:
    """A cell begins on a worker when its threads are free there, whatever dask sends it."""
    threads, order = task.Threads(), list[str]()

    def wide() -> None:
        with threads.taken(3, 4):
            order.append("wide")

    with threads.taken(1, 4):
        with threads.taken(2, 4):
            waiting = threading.Thread(target=wide)
            waiting.start()
            waiting.join(0.1)
            order.append("first")
        waiting.join(10)
    assert order == ["first", "wide"]


class Told:
    """Stands for a worker and for an event of the scheduler that is set, or not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, stopped: bool = False) -> None:
        worker = MagicMock()
        worker.state.nthreads = 1
        monkeypatch.setattr(task, "get_client", MagicMock())
        monkeypatch.setattr(task, "get_worker", MagicMock(return_value=worker))
        event = MagicMock(is_set=lambda: stopped)
        monkeypatch.setattr(task, "Event", MagicMock(return_value=event))


def test_a_cell_that_waited_at_a_worker_is_not_begun_after_an_interrupt(
    monkeypatch: pytest.MonkeyPatch, job: Job
) -> None:
    """It is as if it had not been submitted."""
    Told(monkeypatch, stopped=True)
    supervised = MagicMock()
    monkeypatch.setattr(task, "supervise", supervised)
    assert task.run_cell(job, task.RunInfo("topic", True)) is None
    supervised.assert_not_called()


def test_a_worker_that_does_not_see_the_folder_says_so(
    monkeypatch: pytest.MonkeyPatch, job: Job
) -> None:
    """Nothing is begun in a folder of the same name that would be made there."""
    Told(monkeypatch)
    lost = replace(job, root=job.root / "not-mounted")
    parcel = task.run_cell(lost, task.RunInfo("topic", True))
    assert isinstance(parcel, task.CellError)
    with pytest.raises(UserError, match=r"does not see .*not-mounted; use shared=false or mount"):
        parcel.deliver(lost)


def test_a_cell_that_another_run_has_is_told(monkeypatch: pytest.MonkeyPatch, job: Job) -> None:
    """The run is to hear of it as it would without dask, and goes on with others."""
    Told(monkeypatch)
    monkeypatch.setattr(task, "supervise", MagicMock(side_effect=LockedElsewhere))
    parcel = pickle.loads(pickle.dumps(task.run_cell(job, task.RunInfo("topic", True))))
    with pytest.raises(LockedElsewhere):
        parcel.deliver(job)


@pytest.mark.parametrize(
    "address", ["nonsense", "host:8786", "tcp://host", "tcp://:8786", "http://h:1", "tcp://h:x"]
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    """It is told in a line what to write, before anything is connected."""
    with pytest.raises(ValueError, match="write SCHEME://HOST:PORT, for instance tcp://host:8786"):
        DaskPart(address=address)


def test_a_scheduler_that_says_nothing_is_a_mistake() -> None:
    """Something listens there that is no scheduler; the run gives up within ``wait``."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        began = time.monotonic()
        part = DaskPart(address=f"tcp://127.0.0.1:{mute.getsockname()[1]}", wait=1.0)
        with pytest.raises(UserError, match=r"what listens at .* is no scheduler"):
            part.make(executor_context(1))
        assert time.monotonic() - began < 10


@pytest.mark.parametrize("shared", [True, False])
def test_a_cell_that_ended_leaves_no_thread(
    monkeypatch: pytest.MonkeyPatch, job: Job, shared: bool
) -> None:
    """What waits for the word to stop ends with its cell, and a worker runs many."""
    Told(monkeypatch)
    monkeypatch.setattr(task, "supervise", lambda job, on_message, stop: None)
    before = set(threading.enumerate())
    assert task.run_cell(job, task.RunInfo("topic", shared)) is None
    deadline = time.monotonic() + 10
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) <= before


@pytest.mark.slow
def test_an_accelerator_that_no_worker_has_is_refused(cluster: Cluster) -> None:
    """What would wait for ever is a mistake before anything is submitted."""
    executor = DaskPart(address=cluster.address).make(
        ExecutorContext(jobs=1, stop=StopSignal(), callbacks=lambda job: Callbacks())
    )
    try:
        executor.check(Resources())
        with pytest.raises(UserError, match="no worker offers GPU=1"):
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
    executor = DaskPart(address=cluster.address, shared=False)
    run = Run(grid, store, registry, executor=executor)
    found = [outcome for _, outcome in Scheduler(run, RunListener()).outcomes()]
    ends = sorted(o.status if isinstance(o, Failure) else "done" for o in found)
    assert ends == ["done", "killed"]
    assert store.count() == 2
    assert list(store.verify()) == []
    assert len(list((store.root / "models").iterdir())) == 1


@pytest.mark.slow
def test_a_killed_worker_costs_no_cell(
    cluster: Cluster, make_grid: MakeGrid, registry: Registry, tmp_path: Path
) -> None:
    """One of two workers dies in the middle of a cell; the grid ends with every cell done."""
    store = Store(tmp_path / "shared")
    priors = "prior = [1.0, 2.0, 3.0, 4.0]"
    grid = make_grid(f'[[models]]\nname = "counts"\nsteps = 4\npause = 0.3\n{priors}')
    run = Run(grid, store, registry, executor=DaskPart(address=cluster.address))
    killer = Killer(cluster.workers[0])
    ended = dict(Scheduler(run, killer).outcomes())
    assert cluster.workers[0].wait(10) != 0
    assert len(ended) == 4
    assert all(isinstance(outcome, Record) for outcome in ended.values())


def test_a_scheduler_that_is_not_there_is_a_mistake() -> None:
    """It is told in one sentence, soon."""
    with pytest.raises(UserError, match="no worker could be reached"):
        DaskPart(address="tcp://127.0.0.1:9", wait=1.0).make(
            ExecutorContext(jobs=1, stop=StopSignal(), callbacks=lambda job: Callbacks())
        )


def test_a_cell_asks_for_its_accelerator(scheduler: MagicMock, job: Job) -> None:
    """It asks its worker for one unit, under the name that the options give it."""
    with closing(DaskPart(gpu="GPU").make(executor_context(1))) as executor:
        for device, units in (("cuda:0", {"GPU": 1}), ("cpu", {})):
            executor.submit(job, Resources(device=device))
            assert scheduler.submit.call_args.kwargs["resources"] == units


def test_a_scheduler_that_goes_is_a_mistake(scheduler: MagicMock, job: Job) -> None:
    """Its cells are let go, and nothing ends them elsewhere; the run says so and ends."""
    lost = MagicMock()
    lost.result.side_effect = CancelledError("the connection is lost")
    lost.add_done_callback = lambda call: call(lost)
    scheduler.submit.return_value = lost
    with closing(DaskPart().make(executor_context(1))) as executor:
        ended = executor.submit(job, Resources())
        with pytest.raises(UserError, match="let its cells go: the connection is lost"):
            ended.result(timeout=10)


@pytest.mark.slow
def test_a_cell_has_so_many_tries(make_grid: MakeGrid, registry: Registry, tmp_path: Path) -> None:
    """One whose workers die each time is given up; one that dies alone has no other try."""
    store = Store(tmp_path / "results")
    grid = make_grid('[[models]]\nname = "counts"\nfault = ["orphan", "kill", ""]')
    run = Run(grid, store, registry, executor=DaskPart(retries=1), options=RunOptions(jobs=1))
    found = [outcome for _, outcome in Scheduler(run, RunListener()).outcomes()]
    ends = [o.error if isinstance(o, Failure) else "done" for o in found]
    assert sorted(ends) == ["SIGKILL", "done", "the workers that ran it died, 2 times"]
    assert {o.status for o in found if isinstance(o, Failure)} == {"killed"}


@pytest.mark.slow
def test_a_cluster_of_this_machine(make_grid: MakeGrid, registry: Registry, tmp_path: Path) -> None:
    """Without an address the workers are processes here, and stopping at once ends a cell."""
    store = Store(tmp_path / "results")
    grid = make_grid('[[models]]\nname = "counts"\nfault = ["", "sleep"]')

    class Stopper(RunListener):
        def finished(self, planned: Planned, outcome: object) -> None:
            stop.request()
            stop.request()

    stop = StopSignal()
    run = Run(grid, store, registry, executor=DaskPart(), options=RunOptions(jobs=2), stop=stop)
    assert len(list(Scheduler(run, Stopper()).outcomes())) == 1
    assert [getattr(outcome, "status", "done") for outcome in store] == ["done"]
