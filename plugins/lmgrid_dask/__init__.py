"""Runs cells on the workers of a dask cluster."""

from __future__ import annotations

from lmgrid.spec import ExecutorPart, hookimpl
from lmgrid_dask.parts import Dask


@hookimpl
def lmgrid_executors() -> dict[str, type[ExecutorPart]]:
    return {"dask": Dask}
