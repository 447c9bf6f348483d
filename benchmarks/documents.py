"""Puts the published tables into the documents, each between its marks.

lmgrid run --results results/published/quickstart
python -m lmgrid_benchmarks.documents

A block ``name`` goes between ``<!-- name -->`` and ``<!-- /name -->``, in README.md or docs/*.md.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from lmgrid.records.store import Store
from lmgrid.report.comparison import newest
from lmgrid.report.frame import frame
from lmgrid.report.layout import Table
from lmgrid.report.render import markdown, terminal
from lmgrid.report.tables import overview, speedups

from .five_minutes import comparison
from .gradients import fading
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
        "gradients": untitled(fading(Store(published / "gradients"))),
        "overhead": (published / "overhead/overhead.md").read_text("utf-8"),
        "neural-speed": (published / "neural-speed/neural-speed.md").read_text("utf-8"),
    }


def untitled(table: Table) -> str:
    """Return a table as markdown without its heading, for which a document has its own."""
    return markdown(table).split("\n", 2)[2]


def filled(documents: Mapping[Path, str], made: Mapping[str, str]) -> dict[Path, str]:
    """Return documents with each block between its marks; a block without a place is an error."""
    texts = dict(documents)
    for name, block in made.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        marked = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
        places = [path for path, text in texts.items() if marked.search(text)]
        if not places:
            raise SystemExit(f"{start.strip()} and {end} stand in no document, in that order")
        new = f"{start}{block}{end}".replace("\\", r"\\")
        texts |= {path: marked.sub(new, texts[path]) for path in places}
    return texts


def read_documents(root: Path) -> dict[Path, str]:
    """Return the text of every document that may show a published table."""
    paths = (root / "README.md", *sorted((root / "docs").glob("*.md")))
    return {path: path.read_text("utf-8") for path in paths}


def main() -> None:
    documents = read_documents(Path())
    for path, text in filled(documents, blocks(PUBLISHED)).items():
        if text != documents[path]:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
