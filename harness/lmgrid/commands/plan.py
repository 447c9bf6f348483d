"""``lmgrid plan``: show what a run would do, without running anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lmgrid.commands.options import JSON_OPTION, RUNS, GridArguments, grid_arguments, open_store
from lmgrid.commands.output import complain, say, show_json, show_tables

if TYPE_CHECKING:
    from lmgrid.execution.plan import Planned
    from lmgrid.grid import Grid
    from lmgrid.records.store import Store

TO_RUN, UNREADABLE = "to run", "recorded, but not to be read"


@click.command()
@grid_arguments
@JSON_OPTION
def plan(*, arguments: GridArguments, as_json: bool) -> None:
    """Show the cells of a grid and how long they would take.

    GRID is a grid file or the name of a grid that comes with lmgrid; by default the quickstart.

    For each cell it shows whether it is recorded, to run, or excluded and why. The time is
    estimated from earlier records of this machine. Nothing is run.

    \b
    Examples:
      lmgrid plan my.toml
      lmgrid plan quickstart --only model=rnn --set budget.epochs=1
    """
    from lmgrid.execution.estimate import Estimator
    from lmgrid.execution.plan import plan as make_plan
    from lmgrid.execution.plan import unresolved
    from lmgrid.plugin.registry import Registry
    from lmgrid.records.store import Store

    registry = Registry.installed()
    grid = arguments.read(registry)
    store = open_store(arguments.results, grid.name)
    planned = make_plan(grid, store, registry)
    states = _states(planned, store)
    others = [Store(folder) for folder in sorted(RUNS.glob("*")) if folder != store.root]
    estimator = Estimator([store, *others])
    seconds = [None if p.recorded else estimator.seconds(p) for p in planned]
    if as_json:
        show_json(_as_json(grid, planned, seconds))
        return
    _show(grid, [(p, states[p.address], s) for p, s in zip(planned, seconds, strict=True)])
    say(_counts(states, store))
    say(_estimate(planned, seconds))
    for where in unresolved(grid, registry):
        say(f"not in the addresses, since what it imports is known only when it runs: {where}")


def _counts(states: dict[str, str], store: Store) -> str:
    found = list(states.values())
    left, lost = found.count(TO_RUN), found.count(UNREADABLE)
    unread = f", {lost} not to be read" if lost else ""
    recorded = len(found) - left - lost
    return f"{len(found)} cells: {recorded} recorded in {store.root}{unread}, {left} to run"


def _as_json(
    grid: Grid, planned: tuple[Planned, ...], seconds: list[float | None]
) -> dict[str, Any]:
    cells = [
        {"address": p.address, "cell": p.cell.label, "recorded": p.recorded, "seconds": s}
        for p, s in zip(planned, seconds, strict=True)
    ]
    excluded = [{"cell": e.cell.label, "because": e.because} for e in grid.excluded]
    return {"grid": grid.name, "title": grid.title, "cells": cells, "excluded": excluded}


def _states(planned: tuple[Planned, ...], store: Store) -> dict[str, str]:
    """Return the state of each cell by its address: recorded, and with what; or to run."""
    from lmgrid.machine.environment import library_differences

    found = store.read_all()
    for error in found.unreadable.values():
        complain(f"passed over: {error}")
    environments = {
        outcome.inputs.address: outcome.provenance.environment for outcome in found.outcomes
    }
    states = {}
    for cell in planned:
        state = "recorded" if cell.recorded else TO_RUN
        if cell.address in found.unreadable:
            state = UNREADABLE
        elif cell.recorded:
            unlike = library_differences(environments[cell.address], cell.libraries)
            state = "; ".join(unlike) or state
        states[cell.address] = state
    return states


def _show(grid: Grid, cells: list[tuple[Planned, str, float | None]]) -> None:
    from lmgrid.report.layout import Table

    rows = [(p.cell.label, p.address[:12], state, _time(s)) for p, state, s in cells]
    rows += [(e.cell.label, "", f"excluded: {e.because}", "") for e in grid.excluded]
    head = ("cell", "address", "state", "estimate")
    title = grid.title or grid.name
    show_tables([Table(name="plan", title=title, header=head, rows=tuple(rows), numeric_columns=1)])


def _estimate(planned: tuple[Planned, ...], seconds: list[float | None]) -> str:
    left = [s for p, s in zip(planned, seconds, strict=True) if not p.recorded]
    if not left:
        return "nothing to run"
    known = [s for s in left if s is not None]
    if not known:
        return "no estimate of the time: no record of this machine is like one of these cells"
    unknown = len(left) - len(known)
    rest = f", and {unknown} cells without a like record" if unknown else ""
    return f"about {_time(sum(known))} by earlier records of this machine{rest}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
