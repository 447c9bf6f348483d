"""A frame of records as a Parquet file, for other programs."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from lmgrid.errors import Mistake
from lmgrid.table import plain_rows

if TYPE_CHECKING:
    import pandas as pd


def to_parquet(rows: pd.DataFrame) -> bytes:
    """Return a frame as Parquet: its columns under their names, what is missing as null."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise Mistake("Parquet needs pyarrow: pip install 'lmgrid[parquet]'") from None
    plain = plain_rows(rows)
    columns = {str(name): [row[str(name)] for row in plain] for name in rows.columns}
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()
