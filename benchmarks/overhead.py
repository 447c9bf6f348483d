"""Measures what the harness costs beside its cells, against the targets.

    python -m lmgrid_benchmarks.overhead

CPU seconds, children included; a no-op is a bigram model of a text of forty lines.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import process_time

import psutil

from lmgrid.envelope import seal
from lmgrid.execute import Listener, Run, execute, run_here
from lmgrid.grid import Grid
from lmgrid.gridfile import read_grid
from lmgrid.plan import Planned, plan
from lmgrid.record import Record
from lmgrid.registry import Registry
from lmgrid.store import Store
from lmgrid.table import frame

CELLS, MANY = 40, 10_000
TEXT = "a b c\nb c d\n" * 20
GRID = """
[[corpora]]
name = "file"
train = "text"
valid = "text"
test = "text"
[[models]]
name = "ngram"
order = 2
smoothing = "add-delta"
delta = [{deltas}]
"""


def main() -> None:
    """Print each figure beside its target."""
    registry = Registry.installed()
    with tempfile.TemporaryDirectory(prefix="lmgrid-overhead-") as name:
        folder = Path(name)
        grid = _write(folder, CELLS, registry)
        _tell("a no-op cell in this process", 1e3 * _here(folder, grid, registry), "2 ms")
        _tell("a no-op cell in its own process", 1e3 * _apart(folder, grid, registry), "60 ms")
        _many(folder, registry)


def _write(folder: Path, count: int, registry: Registry) -> Grid:
    (folder / "text").write_text(TEXT)
    deltas = ", ".join(f"{i + 1}.0" for i in range(count))
    (folder / "grid.toml").write_text(GRID.format(deltas=deltas))
    return read_grid(folder / "grid.toml", registry)


def _tell(what: str, figure: float, target: str) -> None:
    print(f"{what:45} {figure:8.2f}   target {target}")


def _here(folder: Path, grid: Grid, registry: Registry) -> float:
    """Return seconds a cell, without the first."""
    outcomes = run_here(grid, Store(folder / "here"), registry)
    next(outcomes)
    return _seconds(lambda: list(outcomes)) / (CELLS - 1)


def _apart(folder: Path, grid: Grid, registry: Registry) -> float:
    """Return seconds a cell, without the first and what starts the server of the workers."""
    store = Store(folder / "apart")
    run = Run(grid, store, plan(grid, store, registry))
    outcomes = execute(run, Listener())
    next(outcomes)
    return _seconds(lambda: list(outcomes)) / (CELLS - 1)


def _seconds(call: Callable[[], object]) -> float:
    before = _spent()
    call()
    return _spent() - before


def _spent() -> float:
    """Return the CPU seconds of this process and of those it started, the ended ones too."""
    found = [p.cpu_times() for p in psutil.Process().children(recursive=True)]
    return process_time() + sum(
        t.user + t.system + getattr(t, "children_user", 0) + getattr(t, "children_system", 0)
        for t in found
    )


def _many(folder: Path, registry: Registry) -> None:
    """Plan a large grid whose records are all there, and read these into a table."""
    store = Store(folder / "many")
    _fill(store, Store(folder / "here"), plan(_write(folder, MANY, registry), store, registry))
    start = process_time()
    recorded = sum(p.recorded for p in plan(_write(folder, MANY, registry), store, registry))
    spent = process_time() - start
    _tell(f"reading, planning, finding {recorded:,} cells", spent, "3 s")
    start = process_time()
    rows = frame(store)
    _tell(f"a table of {len(rows):,} records", process_time() - start, "2 s")


def _fill(store: Store, like: Store, planned: tuple[Planned, ...]) -> None:
    record = next(o for o in like if isinstance(o, Record))
    folder = store.root / "records"
    folder.mkdir(parents=True)
    for cell in planned:
        data = seal(replace(record, inputs=cell.inputs))
        (folder / f"{cell.address}.json").write_bytes(data)


if __name__ == "__main__":
    main()
