"""Writes data frames of records as CSV and Parquet, for other programs."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from lmgrid.errors import UserError
from lmgrid.report.frame import NESTED_COLUMNS, rows_to_dicts

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_TEXT_COLUMNS = (
    *("address", "status", "corpus", "model", "optimizer", "regularizers", "reporters", "kernel"),
    *("device", "budget", "machine", "text", "version", "libraries", "started"),
    *("error", "message"),
    *("events", "name"),
)
_INTEGER_COLUMNS = (
    *("seed", "threads", "jobs", "parameters", "bytes", "peak_bytes"),
    *("zero_probability_tokens", "test_tokens", "train_tokens", "kept_tokens", "tokens"),
)
_BOOLEAN_COLUMNS = ("normalised", "lossy", "shared", "equal")


def frame_to_csv(rows: pd.DataFrame) -> str:
    """Return a frame as CSV, without the columns that hold several numbers in each row."""
    text: str = rows.drop(columns=NESTED_COLUMNS, errors="ignore").to_csv(index=False)
    return text


def frame_to_parquet(rows: pd.DataFrame) -> bytes:
    """Return a frame as a Parquet file with the same columns; missing values are null.

    The type of a column depends on its name alone, so the files of two runs can be concatenated.
    Raises UserError if pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UserError("Parquet needs pyarrow: pip install 'lmgrid[parquet]'") from None
    schema = pa.schema([(name, _column_type(name)) for name in map(str, rows.columns)])
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows_to_dicts(rows), schema), file)
    return file.getvalue()


def _column_type(column: str) -> pa.DataType:
    """Return the type of a column: a floating-point number, unless it is listed above."""
    import pyarrow as pa

    if column in _TEXT_COLUMNS:
        return pa.string()
    if column in _INTEGER_COLUMNS:
        return pa.int64()
    if column in _BOOLEAN_COLUMNS:
        return pa.bool_()
    nested = {"test_blocks": pa.list_(pa.float64()), "curve": pa.list_(pa.list_(pa.float64()))}
    return nested.get(column, pa.float64())
