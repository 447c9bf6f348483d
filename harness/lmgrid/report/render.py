"""Writes tables as Markdown, CSV and LaTeX, and draws them for a terminal.

Each format escapes the characters that it would read as markup.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lmgrid.errors import UserError
from lmgrid.printable import printable
from lmgrid.report.layout import Table

if TYPE_CHECKING:
    import rich.table

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "≈": r"$\approx$",
    "≥": r"$\ge$",
    "∞": r"$\infty$",
    "×": r"$\times$",
    "–": "--",
    "µ": r"$\mu$",
}


def to_markdown(table: Table, *, heading: bool = True) -> str:
    """Return a table in Markdown, with its title as a heading of level 3 unless it is not wanted.

    >>> rows = (("ngram", "74.0"), ("rnn", "69.3"))
    >>> table = Table(
    ...     name="t", title="Perplexity", header=("model", "test"), rows=rows, numeric_columns=1
    ... )
    >>> print(to_markdown(table, heading=False), end="")
    | model | test |
    | --- | ---: |
    | ngram | 74.0 |
    | rnn | 69.3 |
    """
    alignment = ["---"] * table.text_columns + ["---:"] * table.numeric_columns
    rows = [
        _bold(cells, "**{}**") if i in table.best else cells
        for i, cells in enumerate(_escaped_rows(table, _escape_markdown))
    ]
    title = f"### {_escape_markdown(table.title)}\n\n" if heading else ""
    body = "\n".join("| " + " | ".join(row) + " |" for row in (table.header, alignment, *rows))
    notes = "".join(f"\n{_escape_markdown(note)}" for note in table.notes)
    return f"{title}{body}\n" + (f"{notes}\n" if notes else "")


def _escaped_rows(table: Table, escape: Callable[[str], str]) -> list[list[str]]:
    return [[escape(cell) for cell in row] for row in table.rows]


def _bold(cells: Sequence[str], markup: str) -> list[str]:
    """Return the cells in bold; ``{}`` in ``markup`` stands for the text of a cell."""
    return [markup.format(cell) if cell else cell for cell in cells]


def _escape_markdown(text: str) -> str:
    escaped = re.sub(r"([\\`*|<>&])", r"\\\1", printable(text).replace("\n", " "))
    return escaped.replace("](", "]\\(")


def to_csv(table: Table) -> str:
    """Return the header and the rows of a table as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.header)
    writer.writerows(_escaped_rows(table, printable))
    return out.getvalue()


def to_latex(table: Table) -> str:
    """Return a table as a LaTeX tabular for the package booktabs; notes are LaTeX comments."""
    alignment = "l" * table.text_columns + "r" * table.numeric_columns
    rows = [
        _bold(cells, r"\textbf{{{}}}") if i in table.best else cells
        for i, cells in enumerate(_escaped_rows(table, _escape_latex))
    ]
    header = [_escape_latex(name) for name in table.header]
    first, *lines = (" & ".join(cells) + r" \\" for cells in (header, *rows))
    body = "\n".join(lines)
    notes = "".join(f"% {printable(note)}\n" for note in table.notes)
    return (
        f"\\begin{{tabular}}{{{alignment}}}\n\\toprule\n{first}\n\\midrule\n{body}\n\\bottomrule\n"
        f"\\end{{tabular}}\n{notes}"
    )


def _escape_latex(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in printable(text).replace("\n", " "))


def to_rich(table: Table) -> rich.table.Table:
    """Return a table that the package rich can print; rich's markup in a name is shown as text."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(title=Text(printable(table.title)), title_justify="left", box=box.SIMPLE_HEAD)
    for i, name in enumerate(map(printable, table.header)):
        if i < table.text_columns:
            drawn.add_column(Text(name), overflow="fold", min_width=min(12, len(name)))
        else:
            drawn.add_column(Text(name), justify="right", no_wrap=True)
    for i, row in enumerate(table.rows):
        style = "bold" if i in table.best else ""
        drawn.add_row(*(Text(printable(cell), style=style) for cell in row))
    drawn.caption = Text("\n".join(map(printable, table.notes)))
    drawn.caption_justify = "left"
    return drawn


@dataclass(frozen=True)
class Format:
    """A format that tables are written in: the suffix of its files, and the function for it."""

    suffix: str
    render: Callable[[Table], str]


FORMATS = {
    "markdown": Format(".md", to_markdown),
    "csv": Format(".csv", to_csv),
    "latex": Format(".tex", to_latex),
}


def write_tables(tables: Sequence[Table], folder: Path) -> None:
    """Write each table into a folder, once in each of ``FORMATS``.

    For a table without rows, files of an earlier call are deleted. Raises UserError if the folder
    cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for form in FORMATS.values():
            for table in tables:
                path = folder / f"{table.name}{form.suffix}"
                if table.rows:
                    path.write_text(form.render(table), encoding="utf-8")
                else:
                    path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot write tables: {error.strerror}") from None
