"""The contents of a table as text, and how wide it is on a screen."""

from __future__ import annotations

from dataclasses import dataclass, replace

COLUMN_GAP, SIDE_MARGIN = 3, 2  # characters between two columns on a screen, and at its sides


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table as text: a title, a header, rows, and notes below it.

    ``numeric_columns`` is the number of columns, counted from the right, that hold numbers; they
    are aligned to the right. ``best`` holds the indexes of the rows that are shown in bold.
    ``name`` is the name of the files that the table is written to, without their suffix.
    """

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric_columns: int
    best: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()

    @property
    def text_columns(self) -> int:
        """The number of columns, counted from the left, that hold text."""
        return len(self.header) - self.numeric_columns

    @property
    def width(self) -> int:
        """The number of characters that a line of the table takes on a screen."""
        columns = zip(self.header, *self.rows, strict=True)
        return SIDE_MARGIN + sum(max(map(len, column)) + COLUMN_GAP for column in columns)

    def fit_to_width(self, width: int) -> Table:
        """Return the table without the last numeric columns, as many as do not fit into ``width``.

        The text columns and the first two numeric columns are always kept, even where they do not
        fit. A note names the columns that were left out.
        """
        table = self
        while table.width > width and table.numeric_columns > 2:
            table = replace(
                table,
                header=table.header[:-1],
                rows=tuple(row[:-1] for row in table.rows),
                numeric_columns=table.numeric_columns - 1,
            )
        if table is self:
            return self
        left_out = ", ".join(self.header[len(table.header) :])
        note = f"Left out because this screen is too narrow: {left_out}."
        return replace(table, notes=(*table.notes, note))
