"""Compares language models, optimizers and regularizers over a grid.

What the command line does can be done from Python::

    import lmgrid

    grid = lmgrid.read_grid("my.toml")
    store = lmgrid.Store("results/runs/my")
    for outcome in lmgrid.run_grid(grid, store):
        print(outcome)
    rows = lmgrid.frame(store)  # a pandas data frame, one row for each outcome

Importing this module imports neither NumPy nor pandas nor torch: ``RunOptions``, ``Store`` and
``frame`` are imported when they are first used.
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
_MODULE_OF = {
    "RunOptions": "lmgrid.execution.job",
    "Store": "lmgrid.records.store",
    "frame": "lmgrid.report.frame",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'lmgrid' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def read_grid(path: str | Path) -> Grid:
    """Return the grid that a grid file describes, with all its cells.

    Raises ``lmgrid.grid.GridError`` if the file cannot be read or asks for what does not exist.
    """
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
    """Run the cells of a grid that the store has no record of; yield the outcome of each cell.

    By default, cells run one after another in this process, as with ``lmgrid run -j 0``. With
    ``options=RunOptions(jobs=2)`` each runs in a process of its own, two at the same time;
    ``executor`` says where. Outcomes come in the order of the grid. A cell that was not run,
    because the run was stopped, has none.
    """
    from lmgrid.execution.scheduler import run_grid as run
    from lmgrid.plugin.registry import Registry

    return run(grid, store, registry=Registry.installed(), executor=executor, options=options)
