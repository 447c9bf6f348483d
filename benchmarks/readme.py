"""Puts the published tables into the README: the quickstart's as the command prints them.

lmgrid run --results results/published/quickstart
python -m lmgrid_benchmarks.readme
"""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from lmgrid.comparison import newest
from lmgrid.layout import Table
from lmgrid.render import markdown, terminal
from lmgrid.store import Store
from lmgrid.summary import overview, speedups
from lmgrid.table import frame

from .five_minutes import comparison
from .lecture_table import extensions, systems

WIDE = 1_000
PUBLISHED = Path("results/published")


def printed(results: Path) -> str:
    """Return what ``lmgrid run`` prints of a results folder, without trailing spaces."""
    rows = newest(frame(Store(results)))
    screen = Console(file=io.StringIO(), width=WIDE, highlight=False)
    for table in (overview(rows), speedups(rows)):
        screen.print(terminal(table))
    assert isinstance(screen.file, io.StringIO)
    lines = (line.rstrip() for line in screen.file.getvalue().splitlines())
    return "\n".join(lines).strip("\n")


def blocks(published: Path) -> dict[str, str]:
    """Return what stands between each pair of marks."""
    lecture = Store(published / "lecture-table")
    return {
        "quickstart": f"```text\n{printed(published / 'quickstart')}\n```\n",
        "five-minutes": untitled(comparison(Store(published / "five-minutes"))),
        "lecture-table": f"{untitled(systems(lecture))}\n{untitled(extensions(lecture))}",
        "neural-speed": (published / "neural-speed/neural-speed.md").read_text("utf-8"),
    }


def untitled(table: Table) -> str:
    """Return a table as markdown without its heading, for which the README has its own."""
    return markdown(table).split("\n", 2)[2]


def with_tables(readme: str, published: Path) -> str:
    """Return the README with the published tables between their marks."""
    for name, block in blocks(published).items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, _, rest = readme.partition(start)
        _, mark, after = rest.partition(end)
        if not mark:
            raise SystemExit(f"README.md: {start.strip()} and {end} do not stand there in order")
        readme = f"{before}{start}{block}{end}{after}"
    return readme


def main() -> None:
    path = Path("README.md")
    path.write_text(with_tables(path.read_text("utf-8"), PUBLISHED), encoding="utf-8")


if __name__ == "__main__":
    main()
