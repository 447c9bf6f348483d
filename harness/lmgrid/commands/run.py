"""``lmgrid run``: train and score every cell once, write the tables, print the main one."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from lmgrid.commands.asking import JSON_OPTION, grid_options, read, store_of
from lmgrid.commands.screen import complain, say, show_json, show_tables
from lmgrid.errors import Mistake

if TYPE_CHECKING:
    from lmgrid.execute import Halt, Run
    from lmgrid.grid import Grid
    from lmgrid.record import Outcome
    from lmgrid.registry import Registry
    from lmgrid.store import Store

INTERRUPTED = 130


@click.command()
@grid_options
@click.option("-j", "--jobs", type=click.IntRange(1), default=1, help="Cells side by side.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), help="Seconds a cell, at most.")
@click.option("--discard-models", is_flag=True, help="Keep no weights; generate needs them.")
@click.option("--strict", is_flag=True, help="End with status 2 if any plugin is broken.")
@click.option("-q", "--quiet", is_flag=True, help="No progress; only the tables.")
@JSON_OPTION
def run(**options: Any) -> None:
    """Run GRID, a file or the name of an installed grid; without it, the quickstart.

    What the results folder already holds is not run again. The tables are written to DIR/tables.
    """
    from lmgrid.registry import Registry

    registry = Registry.installed()
    check_plugins(registry, strict=options["strict"])
    grid = read(options, registry)
    sys.exit(run_and_show(grid, store_of(options, grid.name), (registry, options)))


def check_plugins(registry: Registry, *, strict: bool) -> None:
    """Tell of broken plugins in a line each; with ``strict``, refuse to go on."""
    broken = [plugin for plugin in registry.plugins if plugin.problems]
    for plugin in broken:
        complain(
            f"plugin {plugin.name} ({plugin.distribution}) is {plugin.status}: {plugin.reason}"
        )
    if broken and strict:
        raise Mistake(f"--strict: {len(broken)} broken plugins; see lmgrid plugins")


def run_and_show(grid: Grid, store: Store, how: tuple[Registry, dict[str, Any]]) -> int:
    """Run what is left, print the tables of the whole grid, and return the exit status."""
    from lmgrid.environment import usable_cores
    from lmgrid.execute import Manner, Run, check_jobs
    from lmgrid.plan import plan

    registry, options = how
    check_jobs(options["jobs"], grid.cells, usable_cores())
    planned = plan(grid, store, registry)
    manner = Manner(options["jobs"], options["timeout"], not options["discard_models"])
    ready = Run(grid, store, planned, manner)
    if not options["quiet"]:
        _introduce(ready)
    _execute(ready, registry, quiet=options["quiet"])
    outcomes = [found for p in planned if (found := store.find(p.address)) is not None]
    _conclude(store, outcomes, as_json=options["as_json"])
    return _status(ready, outcomes)


def _introduce(ready: Run) -> None:
    recorded = len(ready.planned) - len(ready.remaining)
    excluded = f", {len(ready.grid.excluded)} excluded" if ready.grid.excluded else ""
    if ready.grid.title:
        complain(ready.grid.title)
    cells = "1 cell" if len(ready.planned) == 1 else f"{len(ready.planned)} cells"
    complain(
        f"{cells}: {recorded} recorded in {ready.store.root}, "
        f"{len(ready.remaining)} to run{excluded}"
    )


def _execute(ready: Run, registry: Registry, *, quiet: bool) -> None:
    from lmgrid.commands.progress import reporting
    from lmgrid.execute import execute

    if not ready.remaining:
        return
    listener = reporting(registry, len(ready.remaining), quiet=quiet)
    with _interruptible(ready.halt), listener.watching():
        for _ in execute(ready, listener):
            pass
    if ready.halt.soon.is_set():
        complain("interrupted; the same command goes on from here")


@contextmanager
def _interruptible(halt: Halt) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop softly at first, at once the second time."""

    def ask(*_: object) -> None:
        if not halt.soon.is_set():
            complain("stopping when the running cells are done; once more stops at once")
        halt.ask()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _conclude(store: Store, outcomes: Sequence[Outcome], *, as_json: bool) -> None:
    from lmgrid.render import write_tables
    from lmgrid.summary import failures, overview, speedups, tables
    from lmgrid.table import frame, plain_rows

    write_tables(tables(frame(store)), store.root / "tables")
    rows = frame(outcomes)
    if as_json:
        show_json(plain_rows(rows))
        return
    show_tables([t for t in (overview(rows), speedups(rows), failures(rows)) if t.rows])
    say(f"records and tables: {store.root}")


def _status(ready: Run, outcomes: Sequence[Outcome]) -> int:
    from lmgrid.record import Failure, KernelRecord

    if ready.halt.soon.is_set():
        return INTERRUPTED
    failed = any(
        isinstance(o, Failure) or (isinstance(o, KernelRecord) and not o.equal) for o in outcomes
    )
    return int(failed or len(outcomes) < len(ready.planned))
