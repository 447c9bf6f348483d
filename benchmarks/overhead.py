"""Measures what the harness costs beside its cells, against the targets.

    python -m lmgrid_benchmarks.overhead

CPU seconds, children included. A no-op cell is one of ``noop``, and goes all the way: lock, corpus,
fit, validation, checks, test, synced record. A bigram cell reads its text from a file too.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
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

from .noop import SENTENCES

CELLS, MANY = 100, 10_000
NOOP = """
[[corpora]]
name = "nothing"
[[models]]
name = "uniform"
number = {numbers}
"""
BIGRAM = """
[[corpora]]
name = "file"
train = "text"
valid = "text"
test = "text"
[[models]]
name = "ngram"
order = 2
smoothing = "add-delta"
delta = {numbers}
"""


def main() -> None:
    """Print each figure beside its target."""
    with tempfile.TemporaryDirectory(prefix="lmgrid-overhead-") as name:
        folder = Path(name)
        _install(folder)
        registry = Registry.installed()
        for what, text in (("bigram", BIGRAM), ("no-op", NOOP)):
            grid = _write(folder, text, range(1, CELLS + 1), registry)
            limits = ("target 2 ms", "target 60 ms") if text is NOOP else ("", "")
            here = 1e3 * _here(Store(folder / f"{what}-here"), grid, registry)
            _tell(f"a {what} cell in this process, ms", here, limits[0])
            apart = 1e3 * _apart(Store(folder / f"{what}-apart"), grid, registry)
            _tell(f"a {what} cell in its own process, ms", apart, limits[1])
        _many(folder, registry)


def _install(folder: Path) -> None:
    """Leave the plugin that does nothing as pip would, for workers to find."""
    shutil.copy(Path(__file__).with_name("noop.py"), folder / "lmgrid_noop.py")
    info = folder / "lmgrid_noop-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lmgrid_noop\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lmgrid]\nnoop = lmgrid_noop\n")
    sys.path.append(str(folder))


def _write(folder: Path, text: str, numbers: Sequence[int], registry: Registry) -> Grid:
    (folder / "text").write_text(SENTENCES)
    (folder / "grid.toml").write_text(text.format(numbers=list(numbers)))
    return read_grid(folder / "grid.toml", registry)


def _tell(what: str, figure: float, target: str) -> None:
    print(f"{what:45} {figure:8.2f}   {target}")


def _here(store: Store, grid: Grid, registry: Registry) -> float:
    """Return seconds a cell, without the first."""
    outcomes = run_here(grid, store, registry)
    next(outcomes)
    return _seconds(lambda: list(outcomes)) / (CELLS - 1)


def _apart(store: Store, grid: Grid, registry: Registry) -> float:
    """Return seconds a cell, without the first and what starts the server of the workers."""
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

    def planned() -> tuple[Planned, ...]:
        return plan(_write(folder, NOOP, range(MANY), registry), store, registry)

    store = Store(folder / "many")
    _fill(store, Store(folder / "no-op-here"), planned())
    start = process_time()
    recorded = sum(p.recorded for p in planned())
    spent = process_time() - start
    _tell(f"reading, planning, finding {recorded:,} cells, s", spent, "target 3 s")
    start = process_time()
    rows = frame(store)
    _tell(f"a table of {len(rows):,} records, s", process_time() - start, "target 2 s")


def _fill(store: Store, like: Store, planned: tuple[Planned, ...]) -> None:
    record = next(o for o in like if isinstance(o, Record))
    store.begin()
    for cell in planned:
        data = seal(replace(record, inputs=cell.inputs))
        (store.root / "records" / f"{cell.address}.json").write_bytes(data)


if __name__ == "__main__":
    main()
