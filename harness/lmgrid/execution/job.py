"""What a worker is asked to do: one cell, where its files are, and the options of the run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from lmgrid.engine import Resources
from lmgrid.grid import AnyCell, KernelCell
from lmgrid.machine.environment import library_differences
from lmgrid.records.record import Failure, Inputs, Outcome
from lmgrid.spec import Place

# Which cells are run again although they have an outcome: none, those that failed, or these and
# those whose times were disturbed, or these and those made with other versions of libraries.
Retry: TypeAlias = Literal["none", "failed", "contended", "other-libraries"]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How the cells of a run are run. None of it decides a number; times may depend on ``jobs``."""

    jobs: int = 1  # cells side by side; 0 runs them in the process of the command
    timeout: float | None = None  # seconds of wall time a cell, from when it holds its lock
    memory: int | None = None  # bytes; a cell that holds more is killed
    keep_weights: bool = True
    retry: Retry = "failed"
    fail_fast: bool = False  # start no cell after one has failed


@dataclass(frozen=True, kw_only=True)
class Job:
    """One cell to run. It is sent to the worker process."""

    cell: AnyCell
    inputs: Inputs  # what decides its numbers, as planned
    root: Path  # the results folder
    place: Place
    options: RunOptions
    libraries: tuple[tuple[str, str], ...] = ()  # that its code imports, with versions here
    side_by_side: int = 1  # cells of this run that may share its machine, itself included
    own_process: bool = False  # then it may hide every other device from its process
    wait_for_lock: bool = True  # if another run has the cell; else LockedElsewhere is raised

    @property
    def resources(self) -> Resources:
        """What the cell needs of a machine."""
        cell, memory = self.cell, self.options.memory
        return Resources(
            threads=cell.threads, device=cell.device, memory=memory, timed=is_timed(cell)
        )

    def is_settled_by(self, outcome: Outcome) -> bool:
        """Return whether an outcome that is stored already is what this job asks for."""
        if isinstance(outcome, Failure):
            return False
        if self.options.retry == "contended":
            return not outcome.provenance.contended
        if self.options.retry == "other-libraries":
            return not library_differences(outcome.provenance.environment, self.libraries)
        return True


def is_timed(cell: AnyCell) -> bool:
    """Return whether a time is the result of a cell, or decides how long it trains."""
    if isinstance(cell, KernelCell):
        return True
    budget = cell.budget
    return budget is not None and (budget.seconds, budget.cpu_seconds) != (None, None)
