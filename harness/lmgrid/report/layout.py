"""A table as text, before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace

GAP, MARGIN = 3, 2  # between two columns on a screen, and at its sides


@dataclass(frozen=True)
class Table:
    """A table as text: a title, a head, rows, which rows are best, and notes below it.

    ``numeric`` is how many columns, counted from the right, hold numbers.
    """

    name: str
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: int
    best: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """How many characters its lines take on a screen."""
        columns = zip(self.head, *self.rows, strict=True)
        return MARGIN + sum(max(map(len, column)) + GAP for column in columns)

    def narrowed(self, width: int) -> Table:
        """Return the table with as many columns of numbers as fit, the first of them at least."""
        table = self
        while table.width > width and table.numeric > 2:
            rows = tuple(row[:-1] for row in table.rows)
            table = replace(table, head=table.head[:-1], rows=rows, numeric=table.numeric - 1)
        if table is self:
            return self
        left_out = ", ".join(self.head[len(table.head) :])
        note = f"Left out, for this screen is too narrow: {left_out}."
        return replace(table, notes=(*table.notes, note))
