"""The plugin with the executor ``local``, which runs cells where it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lmgrid.engine import Crew, Executor, ExecutorPart
from lmgrid.spec import hookimpl


@dataclass(frozen=True, kw_only=True)
class LocalProcesses(ExecutorPart):
    """Each cell in a process of its own on this machine, -j of them side by side."""

    def make(self, crew: Crew) -> Executor:
        from lmgrid.execution.executors import Local

        return Local(crew)


@hookimpl
def lmgrid_executors() -> Mapping[str, type[ExecutorPart]]:
    return {"local": LocalProcesses}
