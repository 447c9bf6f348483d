"""Measures the cost of the harness itself, and compares it with targets.

    python -m lmgrid_benchmarks.overhead [DIR]

Costs are CPU seconds, child processes included. A no-op cell has the corpus and the model of
``noop``, and takes all steps of a run: lock, corpus, fit, validation, checks, test, synced record.
A bigram cell also reads its text from a file. With DIR, the table is written to DIR/overhead.md.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time

import psutil

from lmgrid.execution.plan import Planned, plan
from lmgrid.execution.run import Run, RunListener
from lmgrid.execution.scheduler import Scheduler, run_grid
from lmgrid.files import create_file
from lmgrid.grid import Grid
from lmgrid.gridfile.reader import read_grid
from lmgrid.plugin.registry import Registry
from lmgrid.records.record import Record
from lmgrid.records.recordfile import encode_outcome
from lmgrid.records.store import Store
from lmgrid.report.frame import frame
from lmgrid.report.layout import Table
from lmgrid.report.render import to_markdown

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


@dataclass(frozen=True)
class Figure:
    """What was measured, its cost in CPU seconds, and the target."""

    what: str
    seconds: float
    target: float | None = None


def main(folder: Path | None) -> None:
    """Print each figure with its target, and write the table if a folder is given."""
    rows = tuple((f.what, _shown(f.seconds), _shown(f.target)) for f in measure())
    header = ("what", "CPU", "target")
    table = Table(name="overhead", title="", header=header, rows=rows, numeric_columns=2)
    text = to_markdown(table, heading=False)
    print(text)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "overhead.md").write_text(text, encoding="utf-8")


def _shown(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.2g} s" if seconds >= 0.5 else f"{1e3 * seconds:.2g} ms"


def measure() -> Iterator[Figure]:
    """Yield the figures; the first cell of each run is a warm-up and is not counted."""
    with tempfile.TemporaryDirectory(prefix="lmgrid-overhead-") as name:
        folder = Path(name)
        _install(folder)
        registry = Registry.installed()
        grids = [_write(folder, text, range(1, CELLS + 1), registry) for text in (BIGRAM, NOOP)]
        bigram, noop = (_both(folder, grid, registry) for grid in grids)
        yield Figure("a no-op cell in the process of the command (-j 0)", noop[0], 0.002)
        yield Figure("of that, writing and syncing a file and its name", _written(folder))
        yield Figure("a no-op cell in a process of its own", noop[1], 0.06)
        yield Figure("a bigram cell in the process of the command", bigram[0])
        yield Figure("a bigram cell in a process of its own", bigram[1])
        yield from _many(folder, registry)


def _both(folder: Path, grid: Grid, registry: Registry) -> tuple[float, float]:
    """Return the seconds per cell in this process, and in processes of their own."""
    name = grid.cells[0].label.split("[")[0]
    here = _here(Store(folder / f"{name}-here"), grid, registry)
    return here, _apart(Store(folder / f"{name}-apart"), grid, registry)


def _written(folder: Path) -> float:
    """Return the seconds that writing and syncing a record takes."""

    def write() -> None:
        for i in range(CELLS):
            create_file(folder / f"{i}.json", bytes(4_000), drafts=folder)

    return _seconds(write) / CELLS


def _install(folder: Path) -> None:
    """Install the no-op plugin into a folder on sys.path, so that workers find its entry point."""
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


def _here(store: Store, grid: Grid, registry: Registry) -> float:
    """Return the seconds per cell in this process, without the first cell."""
    outcomes = run_grid(grid, store, registry=registry)
    next(outcomes)
    return _seconds(lambda: list(outcomes)) / (CELLS - 1)


def _apart(store: Store, grid: Grid, registry: Registry) -> float:
    """Return the seconds per cell in processes of their own.

    The first cell and the start of the fork server are not counted.
    """
    run = Run(grid, store, registry)
    outcomes = Scheduler(run, RunListener()).outcomes()
    next(outcomes)
    return _seconds(lambda: list(outcomes)) / (CELLS - 1)


def _seconds(call: Callable[[], object]) -> float:
    before = _spent()
    call()
    return _spent() - before


def _spent() -> float:
    """Return the CPU seconds of this process and of its children, also of those that ended."""
    found = [p.cpu_times() for p in psutil.Process().children(recursive=True)]
    return process_time() + sum(
        t.user + t.system + getattr(t, "children_user", 0) + getattr(t, "children_system", 0)
        for t in found
    )


def _many(folder: Path, registry: Registry) -> Iterator[Figure]:
    """Yield the cost of planning a large recorded grid, and of a table of its records."""

    def planned() -> tuple[Planned, ...]:
        return plan(_write(folder, NOOP, range(MANY), registry), store, registry)

    store = Store(folder / "many")
    _fill(store, Store(folder / "uniform-here"), planned())
    yield Figure(f"reading, planning and finding {MANY:,} cells", _seconds(planned), 3)
    yield Figure(f"a table of {MANY:,} records", _seconds(lambda: frame(store)), 2)


def _fill(store: Store, like: Store, planned: tuple[Planned, ...]) -> None:
    record = next(o for o in like if isinstance(o, Record))
    store.create()
    for cell in planned:
        data = encode_outcome(replace(record, inputs=cell.inputs))
        (store.root / "records" / f"{cell.address}.json").write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
