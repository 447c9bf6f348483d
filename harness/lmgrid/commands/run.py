"""``lmgrid run``: train and score every cell once, write the tables, print the main one."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmgrid.commands.options import (
    JSON_OPTION,
    command_line,
    find_grid,
    grid_options,
    parse_named,
    read,
    store_of,
)
from lmgrid.commands.output import complain, say, show_json, show_tables
from lmgrid.errors import UserError

if TYPE_CHECKING:
    from lmgrid.commands.progress import Reporting
    from lmgrid.engine import ExecutorPart
    from lmgrid.execution.plan import Planned
    from lmgrid.execution.scheduler import MakeExecutor, Manner, Run
    from lmgrid.grid import Grid
    from lmgrid.plugin.registry import Registry
    from lmgrid.records.history import Request
    from lmgrid.records.record import Outcome
    from lmgrid.records.store import Store

INTERRUPTED = 130
LEAST_MEMORY = 50_000_000  # bytes


@click.command()
@grid_options
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(0),
    default=1,
    help="Cells side by side, at most cores divided by threads; 0: in this process.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    help="Seconds after which a cell is killed.",
)
@click.option(
    "--memory", metavar="SIZE", help="Bytes beyond which a cell is killed, e.g. 800M or 4G."
)
@click.option(
    "--retry",
    type=click.Choice(["none", "failed", "contended", "other-libraries"]),
    default="failed",
    help="Run again also what failed (the default), or this and what was timed beside others, or "
    "this and what was made with other versions of libraries than are here.",
)
@click.option("--fail-fast", is_flag=True, help="Begin no cell after one has failed.")
@click.option(
    "--executor",
    default="local",
    metavar="NAME[OPTION=VALUE,…]",
    help="Where cells run: local, dask[address=tcp://host:8786], …; lmgrid describe dask.",
)
@click.option("--discard-models", is_flag=True, help="Keep no weights; generate needs them.")
@click.option("--strict", is_flag=True, help="End with status 2 if any plugin is broken.")
@click.option("-q", "--quiet", is_flag=True, help="No progress; only the tables.")
@JSON_OPTION
def run(**options: Any) -> None:
    """Run GRID, a file or the name of an installed grid; without it, the quickstart.

    What the results folder already holds is not run again. The tables are written to DIR/tables.
    Ctrl-C lets the running cells finish, twice ends them; the same command goes on from there.
    """
    from lmgrid.plugin.registry import Registry

    registry = Registry.installed()
    check_plugins(registry, strict=options["strict"])
    check_manner(options)
    executor = executor_of(options, registry)
    grid = read(options, registry.remote() if executor.remote else registry)
    way = Way(registry, executor, options, find_grid(options["grid"]))
    sys.exit(run_and_show(grid, store_of(options, grid.name), way))


def check_plugins(registry: Registry, *, strict: bool) -> None:
    """Tell of broken plugins in a line each; with ``strict``, refuse to go on."""
    broken = [plugin for plugin in registry.plugins if plugin.problems]
    for plugin in broken:
        complain(
            f"plugin {plugin.name} ({plugin.distribution}) is {plugin.status}: {plugin.reason}"
        )
    if broken and strict:
        raise UserError(f"--strict: {len(broken)} broken plugins; see lmgrid plugins")


@dataclass(frozen=True)
class Way:
    """How a grid is to be run: by what plugins, where, and as the command line says."""

    registry: Registry
    executor: ExecutorPart
    options: dict[str, Any]
    grid_file: Path | None = None


def run_and_show(grid: Grid, store: Store, way: Way) -> int:
    """Run what is left, print the tables of the whole grid, and return the exit status."""
    from lmgrid.execution.plan import plan
    from lmgrid.execution.scheduler import Run, executor_here

    registry, options = way.registry, way.options
    make = way.executor.make if options["jobs"] else executor_here(registry)
    planned = plan(grid, store, registry)
    request = _request(way)
    ready = Run(grid, store, planned, manner_of(options, way.executor), request=request)
    _check_records(store, planned)
    if not options["quiet"]:
        _introduce(ready)
    if not ready.remaining and store.count():
        store.keep_request(request)
    skipped = _execute(ready, make, reporting_of(ready, registry, quiet=options["quiet"]))
    stored = {outcome.inputs.address: outcome for outcome in store.read_all().outcomes}
    known = stored | skipped
    outcomes = [known[p.address] for p in planned if p.address in known]
    _show(outcomes, as_json=options["as_json"])
    _write_tables(store, stored.values())
    if not options["as_json"]:
        say(f"records and tables: {store.root}")
    return _status(ready, outcomes)


def _check_records(store: Store, planned: Sequence[Planned]) -> None:
    """Tell of records that cannot be trusted, before the night and not after it.

    RecordError for one of a cell of the grid: its place is taken, and what is there is no number.
    """
    unreadable = store.read_all().unreadable
    for cell in planned:
        if cell.address in unreadable:
            raise unreadable[cell.address]
    for error in unreadable.values():
        complain(f"passed over: {error}")


def _request(way: Way) -> Request:
    """Return what is kept in the results folder of what was asked."""
    from lmgrid.records.history import Request

    path = way.grid_file
    if path is None:
        return Request(command_line())
    is_own = path == Path(way.options["grid"])  # else it is one that comes with lmgrid
    return Request(command_line(), path.read_bytes(), path.parent if is_own else None)


def manner_of(options: dict[str, Any], executor: ExecutorPart) -> Manner:
    from lmgrid.execution.scheduler import Manner

    return Manner(
        options["jobs"],
        options["timeout"],
        not options["discard_models"],
        None if options["memory"] is None else parse_bytes(options["memory"]),
        options["retry"],
        options["fail_fast"],
        executor.remote,
    )


def check_manner(options: dict[str, Any]) -> None:
    """Raise UserError if what was asked for cannot go together."""
    jobs, name = options["jobs"], parse_named(options["executor"], "--executor")[0]
    if jobs == 0 and name != "local":
        raise UserError(
            f"-j 0: cells in the process of the command need no --executor {name}; -j 1"
        )
    limited = [limit for limit in ("timeout", "memory") if options[limit] is not None]
    if limited and jobs == 0:
        raise UserError(
            f"--{limited[0]}: a cell without a process of its own cannot be ended; -j 1"
        )
    if options["retry"] == "contended" and jobs > 1:
        raise UserError(
            f"--retry contended -j {jobs}: cells side by side disturb each other's times, so that "
            "they would be contended again; times want -j 1"
        )


def parse_bytes(text: str) -> int:
    """Return a size such as ``800M`` or ``4G`` in bytes, by powers of a thousand."""
    units = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)B?", text.strip().upper())
    if not found or not float(found[1]):
        raise UserError(f"--memory {text}: expected a size such as 800M or 4G")
    size = int(float(found[1]) * units[found[2]])
    if size < LEAST_MEMORY:
        raise UserError(f"--memory {text}: a cell that does nothing holds more; at least 50M")
    return size


def executor_of(options: dict[str, Any], registry: Registry) -> ExecutorPart:
    """Return the executor that was asked for, with its options."""
    from lmgrid.grid import PartError

    name, given = parse_named(options["executor"], "--executor")
    try:
        part = registry.executor(registry.part("executor", name, given))
    except PartError as error:
        option = f".{error.option}" if error.option not in ("", "name") else ""
        raise UserError(f"--executor {name}{option}: {error}") from None
    if lacks := registry.find("executor", name).lacks:
        raise UserError(f"--executor {name} {lacks}")
    return part


def _introduce(ready: Run) -> None:
    recorded = sum(planned.recorded for planned in ready.planned)
    kept = len(ready.planned) - len(ready.remaining) - recorded
    failed = f", {kept} failed before" if kept > 0 else ""
    excluded = f", {len(ready.grid.excluded)} excluded" if ready.grid.excluded else ""
    if ready.grid.title:
        complain(ready.grid.title)
    cells = "1 cell" if len(ready.planned) == 1 else f"{len(ready.planned)} cells"
    complain(
        f"{cells}: {recorded} recorded in {ready.store.root}{failed}, "
        f"{len(ready.remaining)} to run{excluded}"
    )


def reporting_of(ready: Run, registry: Registry, *, quiet: bool) -> Reporting:
    from lmgrid.commands.progress import reporting

    return reporting(registry, len(ready.remaining), quiet=quiet)


def _execute(ready: Run, make: MakeExecutor, listener: Reporting) -> dict[str, Outcome]:
    """Run what is left; return by address what was skipped, which no store knows."""
    from lmgrid.execution.scheduler import execute

    ready.store.sweep()
    skipped: dict[str, Outcome] = {}
    if not ready.remaining:
        return skipped
    with _interruptible(ready), listener.watching():
        for planned, outcome in execute(ready, listener, make):
            if getattr(outcome, "status", "") == "skipped":
                skipped[planned.address] = outcome
    if ready.stop.graceful.is_set():
        complain("interrupted; the same command goes on from here")
    return skipped


@contextmanager
def _interruptible(ready: Run) -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP stop softly at first, at once the second time.

    A cell that runs in this process, which nobody else can end, is left by KeyboardInterrupt.
    """

    from lmgrid.execution.worker import STOPS

    def ask(*_: object) -> None:
        if not ready.stop.graceful.is_set():
            complain("stopping when the running cells are done; once more stops at once")
        ready.stop.request()
        if ready.stop.immediate.is_set() and ready.manner.jobs == 0:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in STOPS if _is_heard(number)}
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_heard(number: signal.Signals) -> bool:
    """Return whether a stop is obeyed; nohup has asked not to hear of a terminal that closes."""
    return number.name != "SIGHUP" or signal.getsignal(number) != signal.SIG_IGN


def _show(outcomes: Iterable[Outcome], *, as_json: bool) -> None:
    from lmgrid.report.frame import frame, plain_rows
    from lmgrid.report.tables import failures, overview, speedups

    rows = frame(outcomes)
    if as_json:
        show_json(plain_rows(rows))
    else:
        show_tables([t for t in (overview(rows), speedups(rows), failures(rows)) if t.rows])


def _write_tables(store: Store, stored: Iterable[Outcome]) -> None:
    from lmgrid.report.frame import frame
    from lmgrid.report.render import write_tables
    from lmgrid.report.tables import tables

    write_tables(tables(frame(stored)), store.root / "tables")


def _status(ready: Run, outcomes: Sequence[Outcome]) -> int:
    from lmgrid.records.record import Failure, KernelRecord

    if ready.stop.graceful.is_set():
        return INTERRUPTED
    failed = any(
        isinstance(o, Failure) or (isinstance(o, KernelRecord) and not o.equal) for o in outcomes
    )
    return int(failed or len(outcomes) < len(ready.planned))
