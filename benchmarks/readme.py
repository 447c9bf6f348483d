"""Puts the quickstart's published tables into the README, as the command prints them.

lmgrid run --results results/published/quickstart
python -m lmgrid_benchmarks.readme
"""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from lmgrid.render import terminal
from lmgrid.store import Store
from lmgrid.summary import newest, overview, speedups
from lmgrid.table import frame

START, END = "<!-- quickstart -->\n", "<!-- /quickstart -->"
WIDE = 1_000
QUICKSTART = Path("results/published/quickstart")


def printed(results: Path) -> str:
    """Return what ``lmgrid run`` prints of a results folder, without trailing spaces."""
    rows = newest(frame(Store(results)))
    screen = Console(file=io.StringIO(), width=WIDE, highlight=False)
    for table in (overview(rows), speedups(rows)):
        screen.print(terminal(table))
    assert isinstance(screen.file, io.StringIO)
    lines = (line.rstrip() for line in screen.file.getvalue().splitlines())
    return "\n".join(lines).strip("\n")


def with_tables(readme: str, results: Path) -> str:
    """Return the README with the tables between its two marks."""
    before, _, rest = readme.partition(START)
    _, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"README.md: {START.strip()} and {END} do not stand there in this order")
    return f"{before}{START}```text\n{printed(results)}\n```\n{END}{after}"


def main() -> None:
    path = Path("README.md")
    path.write_text(with_tables(path.read_text("utf-8"), QUICKSTART), encoding="utf-8")


if __name__ == "__main__":
    main()
