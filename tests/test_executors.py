"""Laws of the manner of execution: what runs beside what, what is tried again, what is skipped."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from lmgrid.callbacks import Callbacks
from lmgrid.cli import main
from lmgrid.commands.options import parse_named
from lmgrid.commands.run import Memory
from lmgrid.engine import ExecutorContext, Resources, StopSignal
from lmgrid.errors import UserError
from lmgrid.execution.estimate import Estimator
from lmgrid.execution.executors import LocalExecutor
from lmgrid.execution.job import RunOptions
from lmgrid.execution.local import LocalPart
from lmgrid.execution.plan import Planned, plan
from lmgrid.execution.run import Run, RunListener
from lmgrid.execution.scheduler import Scheduler, _Queue
from lmgrid.execution.worker import search_path
from lmgrid.grid import Grid
from lmgrid.machine.contention import LoadMonitor
from lmgrid.plugin.registry import Registry
from lmgrid.records.record import Failure, KernelRecord, Outcome, Provenance, Record
from lmgrid.records.store import Store
from lmgrid.report.frame import frame
from lmgrid_dask.parts import DaskPart

FAULTS = Path(__file__).parent / "faults"
MakeGrid = Callable[..., Grid]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def outcomes(run: Run) -> list[Outcome]:
    """Run in this process."""
    here = replace(run, options=replace(run.options, jobs=0))
    return [outcome for _, outcome in Scheduler(here, RunListener()).outcomes()]


def statuses(run: Run) -> list[str]:
    return [getattr(outcome, "status", "done") for outcome in outcomes(run)]


def test_fail_fast_skips_the_rest_and_says_why(
    make_grid: MakeGrid, registry: Registry, store: Store
) -> None:
    """Cells after a failure are not begun; what is skipped is told and not stored."""
    grid = make_grid('[[models]]\nname = "counts"\nfault = ["", "raise", "nan", "memory"]')
    run = Run(grid, store, registry, options=RunOptions(fail_fast=True))
    found = outcomes(run)
    assert [getattr(o, "status", "done") for o in found] == ["done", "error", "skipped", "skipped"]
    assert isinstance(found[-1], Failure)
    assert "counts[fault=raise]" in found[-1].error
    assert store.count() == 2


def test_retry_says_what_is_run_again(
    make_grid: MakeGrid, registry: Registry, store: Store
) -> None:
    """``failed`` tries failures again, ``none`` runs only what was never run."""
    grid = make_grid('[[models]]\nname = "counts"\nfault = ["", "raise"]')
    assert statuses(Run(grid, store, registry)) == ["done", "error"]
    assert statuses(Run(grid, store, registry)) == ["error"]
    assert statuses(Run(grid, store, registry, options=RunOptions(retry="none"))) == []


def test_a_contended_record_is_made_again_and_kept_aside(
    make_grid: MakeGrid, registry: Registry, store: Store
) -> None:
    """The new record takes the place of the old one, which moves to ``superseded``."""
    grid = make_grid('[[kernels]]\nname = "sum"\nsize = [10, 20]')
    first, second = outcomes(Run(grid, store, registry))
    for outcome, others in ((first, 0.0), (second, 1.5)):
        disturbed = replace(outcome.provenance, others=others, started="earlier")
        store.replace_record(replace(outcome, provenance=disturbed))
    assert outcomes(Run(grid, store, registry)) == []
    assert list(frame(store)["shared"]).count(True) == 1
    (again,) = outcomes(Run(grid, store, registry, options=RunOptions(retry="contended")))
    assert isinstance(again, KernelRecord)
    assert again.inputs == second.inputs
    assert again.provenance.started != "earlier"
    assert store.find(second.inputs.address) == again
    assert len(list((store.root / "superseded").glob(f"{second.inputs.address}-*"))) == 2
    assert list(store.verify()) == []


def size_of(text: str) -> int:
    return Memory().convert(text, None, None)


class Overlap(RunListener):
    """Notes which cells ran beside which."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.seen: list[set[str]] = []

    def started(self, planned: Planned) -> None:
        self.running.add(planned.cell.label.split("[")[0])
        self.seen.append(set(self.running))

    def finished(self, planned: Planned, outcome: Outcome) -> None:
        self.running.discard(planned.cell.label.split("[")[0])


def test_kernels_run_alone(make_grid: MakeGrid, registry: Registry, store: Store) -> None:
    """With -j 2 no kernel runs beside anything, and its record says so."""
    text = (
        '[[models]]\nname = "counts"\nprior = [1.0, 2.0]\n[[kernels]]\nname = "sum"\nsize = [9, 8]'
    )
    grid, overlap = make_grid(text), Overlap()
    run = Run(grid, store, registry, options=RunOptions(jobs=2))
    found = [outcome for _, outcome in Scheduler(run, overlap).outcomes()]
    assert all(len(seen) == 1 for seen in overlap.seen if any("kernel" in name for name in seen))
    assert sorted((type(o).__name__, o.provenance.jobs) for o in found) == [
        ("KernelRecord", 1),
        ("KernelRecord", 1),
        ("Record", 2),
        ("Record", 2),
    ]


@pytest.mark.parametrize("limit", ["seconds", "cpu_seconds"])
def test_a_budget_of_time_runs_alone(
    make_grid: MakeGrid, registry: Registry, store: Store, limit: str
) -> None:
    """How far a cell comes in a time depends on who runs beside it; so nobody does."""
    text = f'[[models]]\nname = "learner"\nseeds = [0, 1]\nbudget = {{ {limit} = 0.01 }}'
    grid, overlap = make_grid(text), Overlap()
    run = Run(grid, store, registry, options=RunOptions(jobs=2))
    found = [outcome for _, outcome in Scheduler(run, overlap).outcomes()]
    assert [len(seen) for seen in overlap.seen] == [1, 1]
    assert [o.provenance.jobs for o in found] == [1, 1]


@pytest.mark.parametrize(("remote", "beside"), [(False, 16), (True, 1)])
def test_cells_on_machines_of_their_own_share_none(
    make_grid: MakeGrid, registry: Registry, store: Store, remote: bool, beside: int
) -> None:
    """-j 16 on a cluster is no company; there, what others take is measured alone."""
    grid = make_grid('[[models]]\nname = "counts"')
    executor = DaskPart(address="tcp://there:1") if remote else LocalPart()
    run = Run(grid, store, registry, executor=executor, options=RunOptions(jobs=16))
    assert run.job(run.planned[0]).side_by_side == beside


def test_the_first_cell_that_fits_begins(
    make_grid: MakeGrid, registry: Registry, store: Store
) -> None:
    """In the order of the grid, past those that do not fit now; what is timed comes last."""
    grid = make_grid(
        '[[models]]\nname = "learner"\nbudget = { seconds = 0.01 }\n'
        '[[models]]\nname = "counts"\nthreads = [1, 2]\nprior = [1.0, 2.0]'
    )
    waiting = _Queue(Run(grid, store, registry))
    found = [(p.cell.threads, p.cell.label.startswith("learner")) for p in waiting]
    assert found == [(1, False), (2, False), (1, False), (2, False), (1, True)]
    first, *_ = waiting
    assert waiting.take(lambda resources: False) is None
    taken = waiting.take(lambda resources: resources.threads == 2)
    assert taken is not None
    assert taken[1].threads == 2
    assert next(iter(waiting)) == first
    order = [waiting.take(lambda resources: True) for _ in range(4)]
    assert [found[1].timed for found in order if found] == [False, False, False, True]
    assert [found[1].threads for found in order if found] == [1, 1, 2, 1]
    assert waiting.kinds == ()


def test_an_accelerator_has_one_cell_at_a_time() -> None:
    """Two cells of one device wait for each other, two of two devices do not."""
    local = LocalExecutor(
        ExecutorContext(jobs=4, stop=StopSignal(), callbacks=lambda job: Callbacks())
    )
    one, two, cpu = (Resources(device=name) for name in ("cuda:0", "cuda:1", "cpu"))
    assert local.fits(two, [one])
    assert not local.fits(one, [one, two])
    assert local.fits(cpu, [cpu, cpu, one])
    assert not local.fits(cpu, [cpu, cpu, one, two])
    assert not local.fits(cpu, [Resources(timed=True)])
    assert not local.fits(two, [Resources(timed=True)])
    assert local.fits(two, [replace(one, timed=True)])
    local.close()


def test_what_others_take_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's time less our own, over the time that passed; our own work is no company."""
    ticks = iter([(10.0, 4.0, 100.0), (16.0, 5.0, 102.0)])  # machine, own, clock

    def turn() -> float:
        turn.now = next(ticks)  # type: ignore[attr-defined]
        return float(turn.now[2])  # type: ignore[attr-defined]

    monkeypatch.setattr("lmgrid.machine.contention.perf_counter", turn)
    monkeypatch.setattr("lmgrid.machine.contention._busy_seconds", lambda: turn.now[0])  # type: ignore[attr-defined]
    monkeypatch.setattr("lmgrid.machine.contention._own_seconds", lambda: turn.now[1])  # type: ignore[attr-defined]
    assert LoadMonitor().sample().others == pytest.approx(2.5)


def test_a_worker_looks_for_plugins_where_its_parent_did(tmp_path: Path) -> None:
    """What decides is which folders hold distributions, not that of the script."""
    path = search_path()
    assert "" not in path
    assert str(tmp_path) not in path


@pytest.mark.parametrize(
    ("text", "size"),
    [("4G", 4 * 10**9), ("800m", 8 * 10**8), ("1.5GB", 15 * 10**8), ("50000000", 5 * 10**7)],
)
def test_sizes(text: str, size: int) -> None:
    """By powers of a thousand, in either case."""
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "0", "4Q", "-1G", "G", "1e9"])
def test_a_size_that_is_none_is_a_mistake(text: str) -> None:
    """It says what a size looks like."""
    with pytest.raises(UserError, match="800M or 4G"):
        size_of(text)


def test_a_limit_that_kills_every_cell_is_a_mistake() -> None:
    """A worker that does nothing yet holds more than a forgotten unit says."""
    with pytest.raises(UserError, match="at least 50M"):
        size_of("800")


def test_an_executor_is_named_with_its_options() -> None:
    """As parts are: TOML values, or bare words."""
    named = parse_named('dask[address=tcp://h:1,retries=3,gpu="A"]', "--executor")
    assert named == ("dask", {"address": "tcp://h:1", "retries": 3, "gpu": "A"})
    assert parse_named("local", "--executor") == ("local", {})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--executor", "dusk"), "unknown executor 'dusk'; did you mean 'dask'"),
        (("--executor", "dask[adress=x]"), "did you mean 'address'"),
        (("--executor", "dask[address"), "expected NAME[OPTION=VALUE,…]"),
        (("--executor", "dask[adress=x]"), "--executor dask.adress: "),
        (("--executor", "dask[retries=-1]"), "--executor dask.retries: "),
        (("--executor", "local[x=1]"), "--executor local.x: "),
        (("--executor", "dask", "-j", "0"), "without --executor dask"),
        (("--executor", "dask", "-j", "0", "--timeout", "3"), "without --executor dask"),
        (("--retry", "contended", "-j", "2"), "use -j 1"),
        (("-j", "0", "--timeout", "3"), "cannot be ended"),
        (("--memory", "lots"), "800M or 4G"),
    ],
)
def test_a_mistake_runs_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    """It is one message and status 2."""
    monkeypatch.syspath_prepend(str(FAULTS))
    monkeypatch.chdir(tmp_path)
    Path("g.toml").write_text('[[corpora]]\nname = "tiny"\n[[models]]\nname = "counts"')
    result = CliRunner().invoke(main, ["run", "g.toml", *arguments])
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert not Path("results").exists()


@pytest.mark.parametrize("modules", [("dask",), ("distributed",), ("dask", "distributed")])
def test_an_executor_whose_extra_is_missing_is_a_mistake(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, modules: tuple[str, ...]
) -> None:
    """It says how to install it, whichever of its modules is there."""
    monkeypatch.syspath_prepend(str(FAULTS))
    monkeypatch.chdir(tmp_path)
    for name in [*modules, *(m for m in sys.modules if m.split(".")[0] == "lmgrid_dask")]:
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in modules:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("lmgrid.plugin.provided._importable", lambda module: module not in modules)
    Path("g.toml").write_text('[[corpora]]\nname = "tiny"\n[[models]]\nname = "counts"')
    result = CliRunner().invoke(main, ["run", "g.toml", "--executor", "dask"])
    assert result.exit_code == 2, result.output
    assert "pip install 'lmgrid[dask]'" in result.stderr
    assert not Path("results/runs/g/records").exists()


def test_an_estimate_leaves_out_what_was_resumed(
    make_grid: MakeGrid, registry: Registry, store: Store
) -> None:
    """The seconds of a record that went on from a checkpoint are of its last part alone."""
    grid = make_grid('[[models]]\nname = "counts"')
    planned = plan(grid, store, registry)
    (made,) = outcomes(Run(grid, store, registry))
    assert Estimator([store]).seconds(planned[0]) is not None
    assert isinstance(made, Record)
    store.replace_record(replace(made, resumed=1))
    assert Estimator([store]).seconds(planned[0]) is None


def test_circumstances_of_an_older_record_are_read() -> None:
    """What was not noted then is unknown, and no contention is made of it."""
    names = ("python", "system", "processor")
    environment = dict.fromkeys(names, "") | {"cores": 2, "libraries": []}
    old = {"environment": environment, "started": "", "jobs": 1, "load": 0.5}
    found = msgspec.convert(old, Provenance)
    assert found.others is None
    assert not found.contended
