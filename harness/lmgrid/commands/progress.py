"""Shows how a run goes, on standard error: bars on a terminal, else a line for each cell."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from lmgrid.callbacks import Live
from lmgrid.commands.output import complain, console
from lmgrid.execution.plan import Planned
from lmgrid.execution.run import RunListener
from lmgrid.plugin.registry import Registry
from lmgrid.printable import printable
from lmgrid.records.record import Outcome, Record
from lmgrid.result import Point


class ProgressReport(RunListener):
    """Calls the plugins' life-cycle hooks, and counts the cells that ended. It prints nothing."""

    def __init__(self, registry: Registry, count: int) -> None:
        self._registry, self._count, self._done = registry, count, 0

    def watching(self) -> AbstractContextManager[object]:
        """Return a context that is open while cells run."""
        return nullcontext()

    def started(self, planned: Planned) -> None:
        self._announce("lmgrid_cell_started", planned)

    def point(self, planned: Planned, point: Point) -> None:
        self._announce("lmgrid_point", planned, point=point)

    def finished(self, planned: Planned, outcome: Outcome) -> None:
        self._done += 1
        self._announce("lmgrid_cell_finished", planned, outcome=outcome)

    def _announce(self, hook: str, planned: Planned, **arguments: Point | Outcome) -> None:
        told = {"address": planned.address, "cell": planned.cell, **arguments}
        for problem in self._registry.call_hook(hook, **told):
            complain(f"plugin {problem}")


class Lines(ProgressReport):
    """Prints a line for each cell that ends."""

    def finished(self, planned: Planned, outcome: Outcome) -> None:
        super().finished(planned, outcome)
        complain(f"[{self._done}/{self._count}] {planned.cell.label}: {_ending(outcome)}")


class Bars(ProgressReport):
    """Draws a bar for the grid and one for each running cell."""

    def __init__(self, registry: Registry, count: int) -> None:
        super().__init__(registry, count)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[figures]}", markup=False),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console(),
            transient=True,
        )
        self._all = self._progress.add_task("cells", total=count, figures="")
        self._tasks: dict[str, TaskID] = {}

    def watching(self) -> AbstractContextManager[object]:
        return self._progress

    def started(self, planned: Planned) -> None:
        super().started(planned)
        label = printable(planned.cell.label)[:60]
        self._tasks[planned.address] = self._progress.add_task(label, total=100, figures="")

    def live(self, planned: Planned, live: Live) -> None:
        figures = f"{live.tokens_per_second:,.0f} tokens/s"
        if live.perplexity is not None:
            figures += f", perplexity {live.perplexity:,.1f}"
        task = self._tasks[planned.address]
        self._progress.update(task, completed=int(100 * live.share), figures=figures)

    def finished(self, planned: Planned, outcome: Outcome) -> None:
        super().finished(planned, outcome)
        self._progress.remove_task(self._tasks.pop(planned.address))
        self._progress.advance(self._all)


def _ending(outcome: Outcome) -> str:
    if isinstance(outcome, Record):
        kind = "perplexity" if outcome.normalised else "pseudo-perplexity"
        seconds = outcome.training.seconds
        return f"test {kind} {outcome.test.perplexity:.1f}, {seconds:.1f} s of training"
    status = getattr(outcome, "status", "done")
    return f"{status} {getattr(outcome, 'error', '')}".strip()


def progress_report(registry: Registry, count: int, *, quiet: bool) -> ProgressReport:
    """Return the report of a run of ``count`` cells that suits standard error."""
    watched = sys.stderr is not None and sys.stderr.isatty()
    kind = ProgressReport if quiet else Bars if watched else Lines
    return kind(registry, count)
