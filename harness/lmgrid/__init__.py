"""Compare language models, optimizers and regularizers over a grid.

The same from Python as from the command line::

    grid = lmgrid.read_grid("mine.toml")
    for outcome in lmgrid.run_grid(grid, lmgrid.Store("results/runs/mine")):
        ...
    lmgrid.frame(lmgrid.Store("results/runs/mine"))

Importing this imports nothing heavy; each name below is found when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmgrid.spec import hookimpl as hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lmgrid.engine import ExecutorPart
    from lmgrid.execution.job import RunOptions as RunOptions
    from lmgrid.grid import Grid
    from lmgrid.records.record import Outcome
    from lmgrid.records.store import Store as Store
    from lmgrid.report.frame import frame as frame

__version__ = "0.1.0"
__all__ = ["RunOptions", "Store", "frame", "hookimpl", "read_grid", "run_grid"]
_LATE = {
    "RunOptions": "lmgrid.execution.job",
    "Store": "lmgrid.records.store",
    "frame": "lmgrid.report.frame",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'lmgrid' has no attribute {name!r}")
    return getattr(import_module(_LATE[name]), name)


def read_grid(path: str | Path) -> Grid:
    """Return the cells that a grid file asks for; ``lmgrid.grid.GridError`` says what is wrong."""
    from lmgrid.gridfile.reader import read_grid as read
    from lmgrid.plugin.registry import Registry

    return read(Path(path), Registry.installed())


def run_grid(
    grid: Grid,
    store: Store,
    *,
    executor: ExecutorPart | None = None,
    options: RunOptions | None = None,
) -> Iterator[Outcome]:
    """Run the cells that the store does not hold; yield the outcome of each cell, in order.

    By default cells run one after the other in this process, as with ``lmgrid run -j 0``.
    ``RunOptions(jobs=2)`` runs them in processes of their own, two side by side.
    """
    from lmgrid.execution.scheduler import run_grid as run
    from lmgrid.plugin.registry import Registry

    return run(grid, store, registry=Registry.installed(), executor=executor, options=options)
