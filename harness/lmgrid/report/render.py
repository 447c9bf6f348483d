"""Tables as markdown, CSV, LaTeX and on a terminal; text from outside is escaped in each."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
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


def markdown(table: Table) -> str:
    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    first = len(table.head) - table.numeric
    rule = ["---"] * first + ["---:"] * table.numeric
    bold = [_bold(r, i in table.best) for i, r in enumerate(_map(_markdown, table))]
    notes = "".join(f"\n{_markdown(note)}" for note in table.notes)
    body = "\n".join(row(cells) for cells in (table.head, rule, *bold))
    return f"### {_markdown(table.title)}\n\n{body}\n" + (f"{notes}\n" if notes else "")


def _map(escape: Callable[[str], str], table: Table) -> list[list[str]]:
    return [[escape(cell) for cell in row] for row in table.rows]


def _bold(cells: list[str], best: bool, form: str = "**{}**") -> list[str]:
    return [form.format(cell) if best and cell else cell for cell in cells]


def _markdown(text: str) -> str:
    escaped = re.sub(r"([\\`*|<>&])", r"\\\1", printable(text).replace("\n", " "))
    return escaped.replace("](", "]\\(")


def comma_separated(table: Table) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.head)
    writer.writerows(_map(printable, table))
    return out.getvalue()


def latex(table: Table) -> str:
    """Return a tabular for the package booktabs."""
    form = "l" * (len(table.head) - table.numeric) + "r" * table.numeric
    rows = [_bold(r, i in table.best, r"\textbf{{{}}}") for i, r in enumerate(_map(_tex, table))]
    lines = [" & ".join(cells) + r" \\" for cells in ([_tex(h) for h in table.head], *rows)]
    notes = "".join(f"% {printable(note)}\n" for note in table.notes)
    body = "\n".join(lines[1:])
    return (
        f"\\begin{{tabular}}{{{form}}}\n\\toprule\n{lines[0]}\n\\midrule\n{body}\n\\bottomrule\n"
        f"\\end{{tabular}}\n{notes}"
    )


def _tex(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in printable(text).replace("\n", " "))


def terminal(table: Table) -> rich.table.Table:
    """Return a table that rich prints; markup in names is text."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(title=Text(printable(table.title)), title_justify="left", box=box.SIMPLE_HEAD)
    first = len(table.head) - table.numeric
    for i, name in enumerate(map(printable, table.head)):
        if i < first:
            drawn.add_column(Text(name), overflow="fold", min_width=min(12, len(name)))
        else:
            drawn.add_column(Text(name), justify="right", no_wrap=True)
    for i, row in enumerate(table.rows):
        style = "bold" if i in table.best else ""
        drawn.add_row(*(Text(printable(cell), style=style) for cell in row))
    drawn.caption = Text("\n".join(map(printable, table.notes)))
    drawn.caption_justify = "left"
    return drawn


FORMATS: dict[str, tuple[str, Callable[[Table], str]]] = {
    "markdown": ("md", markdown),
    "csv": ("csv", comma_separated),
    "latex": ("tex", latex),
}


def write_tables(tables: Sequence[Table], folder: Path) -> None:
    """Write each table in each format into a folder; of one without rows no file stays there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for ending, form in FORMATS.values():
            for table in tables:
                path = folder / f"{table.name}.{ending}"
                if table.rows:
                    path.write_text(form(table), encoding="utf-8")
                else:
                    path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot write tables: {error.strerror}") from None
