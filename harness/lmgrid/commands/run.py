"""``lmgrid run``: run the cells of a grid, write the tables, print the main ones."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lmgrid.commands.options import (
    JSON_OPTION,
    GridArguments,
    command_line,
    grid_arguments,
    open_store,
    parse_named,
)
from lmgrid.commands.output import complain, say, show_json, show_tables
from lmgrid.errors import UserError

if TYPE_CHECKING:
    from lmgrid.engine import ExecutorPart
    from lmgrid.execution.job import Retry, RunOptions
    from lmgrid.execution.plan import Planned
    from lmgrid.execution.run import Run
    from lmgrid.plugin.registry import Registry
    from lmgrid.records.history import Invocation
    from lmgrid.records.record import Outcome
    from lmgrid.records.store import Store

INTERRUPTED = 130  # the exit status after Ctrl-C
LEAST_MEMORY = 50_000_000  # bytes


class Memory(click.ParamType[int]):
    """A size such as ``800M`` or ``4G`` in bytes, by powers of a thousand."""

    name = "size"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        units = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)B?", str(value).strip().upper())
        if not found or not float(found[1]):
            raise UserError(f"--memory {value}: expected a size such as 800M or 4G")
        size = int(float(found[1]) * units[found[2]])
        if size < LEAST_MEMORY:
            raise UserError(f"--memory {value}: a cell that does nothing holds more; at least 50M")
        return size


@click.command()
@grid_arguments
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(0),
    metavar="N",
    default=1,
    show_default=True,
    help="How many cells to run at a time, at most cores divided by threads; 0 runs them in this "
    "process.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="End a cell that runs longer than this.",
)
@click.option(
    "--memory",
    type=Memory(),
    metavar="SIZE",
    help="End a cell that uses more memory than this, e.g. 800M or 4G.",
)
@click.option(
    "--retry",
    type=click.Choice(["none", "failed", "contended", "other-libraries"]),
    default="failed",
    show_default=True,
    help="Which cells to run again: none; those that failed; these and those whose times other "
    "processes disturbed; or these and those made with other versions of libraries.",
)
@click.option("--fail-fast", is_flag=True, help="Start no more cells after one has failed.")
@click.option(
    "--executor",
    default="local",
    show_default=True,
    metavar="NAME[OPTION=VALUE,…]",
    help="What runs the cells, e.g. dask[address=tcp://host:8786]; lmgrid describe dask shows its "
    "options.",
)
@click.option(
    "--discard-models", is_flag=True, help="Keep no weights. lmgrid generate and predict need them."
)
@click.option("--strict", is_flag=True, help="End with status 2 if any plugin is broken.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress, only the tables.")
@JSON_OPTION
def run(
    *,
    arguments: GridArguments,
    jobs: int,
    timeout: float | None,
    memory: int | None,
    retry: Retry,
    fail_fast: bool,
    executor: str,
    discard_models: bool,
    strict: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run the cells of a grid and print their tables.

    GRID is a grid file or the name of a grid that comes with lmgrid; by default the quickstart.

    Cells with a record in the results folder are not run again. All tables are written to
    DIR/tables. After Ctrl-C no cell starts, and the running cells finish; a second Ctrl-C ends
    them at once. The same command continues an interrupted run.

    \b
    Examples:
      lmgrid run
      lmgrid run quickstart --only model=rnn --set budget.epochs=1
      lmgrid run my.toml -j 2 --timeout 3600 --results results/runs/mine
    """
    from lmgrid.execution.job import RunOptions
    from lmgrid.execution.run import Run
    from lmgrid.plugin.registry import Registry

    registry = Registry.installed()
    check_plugins(registry, strict=strict)
    options = RunOptions(
        jobs=jobs,
        timeout=timeout,
        memory=memory,
        keep_weights=not discard_models,
        retry=retry,
        fail_fast=fail_fast,
    )
    check_options(options, executor)
    part = find_executor(executor, registry)
    grid = arguments.read(registry.remote() if part.remote else registry)
    store = open_store(arguments.results, grid.name)
    invocation = _invocation(arguments)
    ready = Run(grid, store, registry, executor=part, options=options, invocation=invocation)
    sys.exit(run_and_show(ready, quiet=quiet, as_json=as_json))


def check_plugins(registry: Registry, *, strict: bool) -> None:
    """Print a line for each broken plugin; with ``strict``, raise UserError if there is any."""
    broken = [plugin for plugin in registry.plugins if plugin.problems]
    for plugin in broken:
        complain(
            f"plugin {plugin.name} ({plugin.distribution}) is {plugin.status}: {plugin.reason}"
        )
    if broken and strict:
        raise UserError(f"--strict: {len(broken)} broken plugins; see lmgrid plugins")


def run_and_show(ready: Run, *, quiet: bool, as_json: bool) -> int:
    """Run the cells that are left, print the tables of the whole grid, return the exit status."""
    from lmgrid.commands.progress import progress_report
    from lmgrid.execution.scheduler import Scheduler

    store = ready.store
    _check_records(store, ready.planned)
    if not quiet:
        _introduce(ready)
    if not ready.remaining and store.count() and ready.invocation:
        store.record_invocation(ready.invocation)
    # Run what is left. Cells that are skipped are in no store.
    store.clean_up()
    skipped: dict[str, Outcome] = {}
    if ready.remaining:
        report = progress_report(ready.registry, len(ready.remaining), quiet=quiet)
        with _interruptible(ready), report.watching():
            for planned, outcome in Scheduler(ready, report).outcomes():
                if getattr(outcome, "status", "") == "skipped":
                    skipped[planned.address] = outcome
        if ready.stop.graceful.is_set():
            complain("interrupted; the same command continues from here")
    # Show the outcomes of the cells of this grid, in its order.
    stored = {outcome.inputs.address: outcome for outcome in store.read_all().outcomes}
    known = stored | skipped
    outcomes = [known[p.address] for p in ready.planned if p.address in known]
    _show(outcomes, as_json=as_json)
    _write_tables(store, stored.values())
    if not as_json:
        say(f"records and tables: {store.root}")
    return _status(ready, outcomes)


def _check_records(store: Store, planned: Sequence[Planned]) -> None:
    """Print which records cannot be read, before anything is run.

    RecordError if one of them is of a cell of the grid, since its outcome could not be stored.
    """
    unreadable = store.read_all().unreadable
    for cell in planned:
        if cell.address in unreadable:
            raise unreadable[cell.address]
    for error in unreadable.values():
        complain(f"passed over: {error}")


def _invocation(arguments: GridArguments) -> Invocation:
    """Return what the results folder keeps of the command: its line and the grid's file."""
    from lmgrid.records.history import Invocation

    path = arguments.file
    is_own = path == Path(arguments.grid)  # else it comes with lmgrid
    return Invocation(command_line(), path.read_bytes(), path.parent if is_own else None)


def check_options(options: RunOptions, executor: str) -> None:
    """Raise UserError if options contradict each other."""
    jobs, name = options.jobs, parse_named(executor, "--executor")[0]
    if jobs == 0 and name != "local":
        raise UserError(f"-j 0 runs cells in this process, without --executor {name}; use -j 1")
    limited = [limit for limit in ("timeout", "memory") if getattr(options, limit) is not None]
    if limited and jobs == 0:
        raise UserError(
            f"--{limited[0]}: a cell without a process of its own cannot be ended; use -j 1"
        )
    if options.retry == "contended" and jobs > 1:
        raise UserError(
            f"--retry contended -j {jobs}: cells side by side disturb each other's times, so they "
            "would be contended again; use -j 1"
        )


def find_executor(text: str, registry: Registry) -> ExecutorPart:
    """Return the executor of ``NAME[OPTION=VALUE,…]``; UserError if there is none such."""
    from lmgrid.grid import PartError

    name, given = parse_named(text, "--executor")
    try:
        part = registry.executor(registry.part("executor", name, given))
    except PartError as error:
        option = f".{error.option}" if error.option not in ("", "name") else ""
        raise UserError(f"--executor {name}{option}: {error}") from None
    if lacks := registry.find("executor", name).missing_requirement:
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


@contextmanager
def _interruptible(ready: Run) -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP ask for a graceful stop, the second time for an immediate one.

    A cell that runs in this process is then left by KeyboardInterrupt.
    """

    from lmgrid.execution.worker import STOP_SIGNALS

    def request_stop(*_: object) -> None:
        if not ready.stop.graceful.is_set():
            complain("stopping when the running cells are done; once more stops at once")
        ready.stop.request()
        if ready.stop.immediate.is_set() and ready.options.jobs == 0:
            raise KeyboardInterrupt

    before = {
        number: signal.signal(number, request_stop) for number in STOP_SIGNALS if _is_obeyed(number)
    }
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_obeyed(number: signal.Signals) -> bool:
    """Return whether a signal stops the run. ``nohup`` ignores SIGHUP, and that stays so."""
    return number.name != "SIGHUP" or signal.getsignal(number) != signal.SIG_IGN


def _show(outcomes: Iterable[Outcome], *, as_json: bool) -> None:
    from lmgrid.report.frame import frame, rows_to_dicts
    from lmgrid.report.tables import failures, overview, speedups

    rows = frame(outcomes)
    if as_json:
        show_json(rows_to_dicts(rows))
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
