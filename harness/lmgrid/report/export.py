"""A frame of records as a file of rows, for other programs."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from lmgrid.errors import UserError
from lmgrid.report.frame import NESTED, plain_rows

if TYPE_CHECKING:
    import pandas as pd

TEXTS = (
    *("address", "status", "corpus", "model", "optimizer", "regularizers", "reporters", "kernel"),
    *("device", "budget", "machine", "text", "version", "libraries", "started"),
    *("error", "message"),
    *("events", "name"),
)
COUNTS = (
    *("seed", "threads", "jobs", "parameters", "bytes", "peak_bytes"),
    *("zero_probability_tokens", "test_tokens", "train_tokens", "kept_tokens", "tokens"),
)
FLAGS = ("normalised", "lossy", "shared", "equal")


def to_csv(rows: pd.DataFrame) -> str:
    """Return a frame as CSV, without the columns that hold several numbers a row."""
    text: str = rows.drop(columns=NESTED, errors="ignore").to_csv(index=False)
    return text


def to_parquet(rows: pd.DataFrame) -> bytes:
    """Return a frame as Parquet: its columns under their names, what is missing as null.

    The type of a column depends on its name alone, so that the files of two runs fit together.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UserError("Parquet needs pyarrow: pip install 'lmgrid[parquet]'") from None
    schema = pa.schema([(name, _type(name)) for name in map(str, rows.columns)])
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(plain_rows(rows), schema), file)
    return file.getvalue()


def _type(column: str) -> Any:
    """Return the type of a column: a number, unless it is known for something else."""
    import pyarrow as pa

    kinds = (TEXTS, pa.string()), (COUNTS, pa.int64()), (FLAGS, pa.bool_())
    several = {"test_blocks": pa.list_(pa.float64()), "curve": pa.list_(pa.list_(pa.float64()))}
    known = {name: kind for names, kind in kinds for name in names} | several
    return known.get(column, pa.float64())
