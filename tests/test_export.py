"""Laws of the export: a Parquet file holds every row and column, and nothing else."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from lmgrid.cli import main
from lmgrid.execution.scheduler import run_grid
from lmgrid.grid import Grid
from lmgrid.plugin.registry import Registry
from lmgrid.records.store import Store
from lmgrid.report.export import frame_to_parquet
from lmgrid.report.frame import COLUMNS, frame, points, readings

pq = pytest.importorskip("pyarrow.parquet", reason="needs the extra lmgrid[parquet]")
GRID = """
[[models]]
name = "counts"
fault = ["raise", ""]
prior = [0.0, 1.0]
[[kernels]]
name = "sum"
"""


@pytest.fixture
def store(make_grid: Callable[..., Grid], registry: Registry, tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    assert len(list(run_grid(make_grid(GRID), store, registry=registry))) == 5
    return store


def test_every_value_survives(store: Store) -> None:
    """Models, kernels and failures in one table; infinity stays, what is missing is null."""
    rows = frame(store)
    read = pq.read_table(io.BytesIO(frame_to_parquet(rows)))
    assert tuple(read.column_names) == COLUMNS
    for column in ("address", "status", "model", "test_perplexity", "speedup"):
        for value, expected in zip(read[column].to_pylist(), rows[column], strict=True):
            missing = isinstance(expected, float) and math.isnan(expected)
            assert value == (None if missing or expected is None else expected)


def test_the_files_of_two_runs_fit_together(store: Store) -> None:
    """The type of a column depends on its name, be it full, empty, or partly filled."""
    import pyarrow as pa

    for made in (frame, points, readings):
        rows = made(store)
        parts = (rows, rows.head(1), rows.head(0), rows.iloc[::-1].tail(2))
        read = [pq.read_table(io.BytesIO(frame_to_parquet(part))) for part in parts]
        assert len({str(table.schema) for table in read}) == 1
        assert pa.concat_tables(read).num_rows == sum(map(len, parts))
    kinds = {name: str(kind) for name, kind in zip(*columns(frame(store)), strict=True)}
    assert (kinds["seed"], kinds["peak_bytes"], kinds["test_tokens"]) == ("int64",) * 3
    assert (kinds["error"], kinds["equal"], kinds["load"]) == ("string", "bool", "double")


def columns(rows: pd.DataFrame) -> tuple[list[str], list[object]]:
    """Return names and types as they are written."""
    schema = pq.read_schema(io.BytesIO(frame_to_parquet(rows)))
    return schema.names, schema.types


def test_the_command_writes_it(store: Store, tmp_path: Path) -> None:
    """Into a folder, or to a pipe."""
    arguments = ["tables", str(store.root), "--format", "parquet"]
    written = CliRunner().invoke(main, [*arguments, "--output", str(tmp_path / "out")])
    assert "wrote 5 rows" in written.stdout
    piped = CliRunner().invoke(main, arguments)
    assert piped.stdout_bytes == (tmp_path / "out" / "rows.parquet").read_bytes()
