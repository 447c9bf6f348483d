"""A grid to run: which of its cells are left, the job of each, and who is told."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

from lmgrid.callbacks import Live
from lmgrid.engine import ExecutorPart, StopSignal
from lmgrid.execution.job import Job, RunOptions
from lmgrid.execution.local import LocalPart
from lmgrid.execution.plan import Planned, place_of, plan
from lmgrid.grid import Grid
from lmgrid.plugin.registry import Registry
from lmgrid.records.history import Invocation
from lmgrid.records.record import Outcome
from lmgrid.records.store import Store
from lmgrid.result import Point
from lmgrid.spec import Place


class RunListener:
    """Is told what happens to each cell: started, live reports and points, finished.

    Each method does nothing unless a subclass overrides it. Calls come from several threads, one
    at a time.
    """

    def started(self, planned: Planned) -> None: ...

    def live(self, planned: Planned, live: Live) -> None: ...

    def point(self, planned: Planned, point: Point) -> None: ...

    def finished(self, planned: Planned, outcome: Outcome) -> None: ...


@dataclass(frozen=True)
class Run:
    """A grid, the store of its outcomes, and how its cells are run."""

    grid: Grid
    store: Store
    registry: Registry
    executor: ExecutorPart = field(default_factory=LocalPart, kw_only=True)
    options: RunOptions = field(default_factory=RunOptions, kw_only=True)
    stop: StopSignal = field(default_factory=StopSignal, kw_only=True)
    invocation: Invocation | None = field(default=None, kw_only=True)  # kept in the results folder

    @cached_property
    def planned(self) -> tuple[Planned, ...]:
        """The cells of the grid with their addresses, each once."""
        return plan(self.grid, self.store, self.registry)

    @cached_property
    def remaining(self) -> tuple[Planned, ...]:
        """The cells that are to be run, in the order of the grid."""
        return tuple(planned for planned in self.planned if self._is_due(planned))

    def job(self, planned: Planned, *, wait_for_lock: bool = True) -> Job:
        """Return what a worker needs to run one of the cells."""
        job = Job(
            cell=planned.cell,
            inputs=planned.inputs,
            root=self.store.root.absolute(),  # a cell may change the working folder
            place=self._place,
            options=self.options,
            libraries=planned.libraries,
            side_by_side=1 if self.executor.remote else max(1, self.options.jobs),
            wait_for_lock=wait_for_lock,
        )
        return replace(job, side_by_side=1) if job.resources.whole_machine else job

    @cached_property
    def _place(self) -> Place:
        return place_of(self.grid)

    def _is_due(self, planned: Planned) -> bool:
        retry = self.options.retry
        if not planned.recorded:
            return retry != "none" or self.store.find(planned.address) is None
        if retry not in ("contended", "other-libraries"):
            return False
        found = self.store.find(planned.address)
        return found is not None and not self.job(planned).is_settled_by(found)
