"""Runs cells on the workers of a dask cluster."""

from __future__ import annotations

from lmgrid.engine import ExecutorPart
from lmgrid.spec import hookimpl
from lmgrid_dask.parts import DaskPart


@hookimpl
def lmgrid_executors() -> dict[str, type[ExecutorPart]]:
    return {"dask": DaskPart}
