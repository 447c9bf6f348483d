"""The plugin with the executor ``local``, which runs cells on the machine of the command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lmgrid.engine import Executor, ExecutorContext, ExecutorPart
from lmgrid.spec import hookimpl


@dataclass(frozen=True, kw_only=True)
class LocalPart(ExecutorPart):
    """Runs each cell in a process of its own on this machine, ``-j`` of them side by side."""

    def make(self, context: ExecutorContext) -> Executor:
        from lmgrid.execution.executors import LocalExecutor

        return LocalExecutor(context)


@hookimpl
def lmgrid_executors() -> Mapping[str, type[ExecutorPart]]:
    return {"local": LocalPart}
