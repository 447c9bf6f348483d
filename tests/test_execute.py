"""Laws of execution: one cell's end never touches another, and nothing runs twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lmgrid.callbacks import Live
from lmgrid.engine import StopSignal
from lmgrid.execution.attempt import attempt
from lmgrid.execution.executors import check_jobs
from lmgrid.execution.job import RunOptions
from lmgrid.execution.plan import Planned, plan
from lmgrid.execution.run import Run, RunListener
from lmgrid.execution.scheduler import Scheduler, run_grid
from lmgrid.grid import Grid, GridError, KernelCell, Part
from lmgrid.plugin.registry import Registry
from lmgrid.records.address import CodeAnalysis
from lmgrid.records.record import Failure, Outcome, Record
from lmgrid.records.store import Store

MakeGrid = Callable[..., Grid]
FAULTS = '[[models]]\nname = "counts"\nfault = ["raise", "kill", "segfault", "nan", "memory", ""]'


def outcomes(run: Run, listener: RunListener | None = None) -> dict[str, Outcome]:
    """Execute, and return what came of each cell by the fault it has."""
    return {
        dict(p.inputs.any_cell.model.options)["fault"]: outcome  # type: ignore[union-attr]
        for p, outcome in Scheduler(run, listener or RunListener()).outcomes()
    }


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    store.create()
    return store


def test_each_end_has_its_status(make_grid: MakeGrid, registry: Registry, store: Store) -> None:
    """A cell that raises, kills itself, segfaults, diverges or lacks memory ends alone."""
    grid = make_grid(FAULTS)
    found = outcomes(Run(grid, store, registry, options=RunOptions(jobs=2)))
    ends = {k: (o.status, o.error) for k, o in found.items() if isinstance(o, Failure)}
    assert ends == {
        "raise": ("error", "RuntimeError"),
        "kill": ("killed", "SIGKILL"),
        "segfault": ("killed", "SIGSEGV"),
        "nan": ("diverged", "Diverged"),
        "memory": ("out-of-memory", "MemoryError"),
    }
    assert isinstance(found[""], Record)


def test_a_timeout_is_enforced(make_grid: MakeGrid, registry: Registry, store: Store) -> None:
    """A cell that sleeps past its time is killed and says so."""
    grid = make_grid('[[models]]\nname = "counts"\nfault = "sleep"')
    run = Run(grid, store, registry, options=RunOptions(timeout=3))
    found = outcomes(run)["sleep"]
    assert isinstance(found, Failure)
    assert (found.status, found.error) == ("timeout", "over 3 s")
    assert found.seconds < 30


def test_a_finished_cell_is_not_run_again(
    make_grid: MakeGrid, registry: Registry, store: Store
) -> None:
    """What is recorded is planned as such; what failed is tried again."""
    grid = make_grid('[[models]]\nname = "counts"\nfault = ["raise", ""]')
    first = list(run_grid(grid, store, registry=registry))
    planned = plan(grid, store, registry)
    assert [p.recorded for p in planned] == [isinstance(o, Record) for o in first]
    assert [p.recorded for p in planned] == [False, True]
    assert list(run_grid(grid, store, registry=registry))[1] == first[1]


def test_in_this_process_and_in_its_own_gives_the_same(
    make_grid: MakeGrid, registry: Registry, tmp_path: Path
) -> None:
    """An executor decides where a cell runs, not what comes out."""
    grid = make_grid('[[models]]\nname = "counts"\nsteps = 2')
    here = next(run_grid(grid, Store(tmp_path / "here"), registry=registry))
    away_store = Store(tmp_path / "away")
    away = outcomes(Run(grid, away_store, registry))[""]
    assert isinstance(here, Record)
    assert isinstance(away, Record)
    assert (away.inputs, away.test, away.valid) == (here.inputs, here.test, here.valid)


def test_a_row_does_not_depend_on_the_rest_of_the_grid(
    make_grid: MakeGrid, registry: Registry, store: Store
) -> None:
    """Addresses are the same whatever else the grid holds, in whatever order."""
    one = make_grid('[[models]]\nname = "counts"\nprior = [1.0, 2.0]')
    two = make_grid('[[models]]\nname = "counts"\nprior = [3.0, 2.0, 1.0]')
    addresses = [{p.address for p in plan(g, store, registry)} for g in (one, two)]
    assert addresses[0] < addresses[1]


def test_a_listener_hears_the_life_of_a_cell(
    make_grid: MakeGrid, registry: Registry, store: Store
) -> None:
    """Started, live and points, finished; in this order, in the process of the command."""

    class Ear(RunListener):
        def __init__(self) -> None:
            self.heard: list[str] = []

        def started(self, planned: Planned) -> None:
            self.heard.append("started")

        def live(self, planned: Planned, live: Live) -> None:
            self.heard.append("live")

        def finished(self, planned: Planned, outcome: Outcome) -> None:
            self.heard.append("finished")

    ear = Ear()
    grid = make_grid('[[models]]\nname = "counts"')
    outcomes(Run(grid, store, registry), ear)
    assert ear.heard == ["started", "live", "finished"]


class Asking(RunListener):
    """Asks so many times to stop, as soon as a cell has started."""

    def __init__(self, stop: StopSignal, times: int) -> None:
        self._halt, self._times = stop, times

    def started(self, planned: Planned) -> None:
        for _ in range(self._times):
            self._halt.request()


def test_halting_soon_lets_the_running_cell_finish(
    make_grid: MakeGrid, registry: Registry, store: Store
) -> None:
    """Asked once, no new cell starts and the running one is recorded."""
    stop = StopSignal()

    grid = make_grid('[[models]]\nname = "counts"\nprior = [1.0, 2.0, 3.0]')
    run = Run(grid, store, registry, stop=stop)
    assert len(list(Scheduler(run, Asking(stop, times=1)).outcomes())) == 1
    assert [p.recorded for p in plan(grid, store, registry)] == [True, False, False]


def test_halting_now_ends_the_running_cell(
    make_grid: MakeGrid, registry: Registry, store: Store
) -> None:
    """Asked twice, the running cell ends without an outcome, and is run the next time."""
    stop = StopSignal()

    grid = make_grid('[[models]]\nname = "counts"\nfault = "sleep"')
    run = Run(grid, store, registry, stop=stop)
    assert list(Scheduler(run, Asking(stop, times=2)).outcomes()) == []
    assert list(store) == []


def test_an_edited_source_is_refused(
    make_grid: MakeGrid, registry: Registry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell whose plugin changed after planning gets a failure, not the old address."""
    grid = make_grid('[[models]]\nname = "counts"')
    run = Run(grid, store, registry)
    job = run.job(run.planned[0])
    edited = CodeAnalysis((), (), (), ())
    monkeypatch.setattr("lmgrid.records.address._analyse", lambda classes, runner: edited)
    found = attempt(job, registry)
    assert isinstance(found, Failure)
    assert "edited" in found.message


def test_more_jobs_than_cores_are_refused() -> None:
    """Threads are part of a cell, so -j is bounded by cores over threads."""
    cells = [KernelCell(Part("sum"), "cpu", threads) for threads in (1, 2)]
    check_jobs(2, cells, cores=4)
    with pytest.raises(GridError, match="at most -j 2"):
        check_jobs(3, cells, cores=4)
