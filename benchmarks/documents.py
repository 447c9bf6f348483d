"""Writes the published tables into README.md and docs/*.md, from results/published.

    python -m lmgrid_benchmarks.documents

The block ``name`` is written between ``<!-- name -->`` and ``<!-- /name -->``, in every document
that has these marks.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from lmgrid.records.store import Store
from lmgrid.report.comparison import newest_rows
from lmgrid.report.frame import frame
from lmgrid.report.render import to_markdown, to_rich
from lmgrid.report.tables import overview, speedups

from .five_minutes import comparison
from .gradients import fading
from .lecture_table import extensions, systems

WIDTH = 1_000  # characters; no line of a table is longer
PUBLISHED = Path("results/published")


def printed(results: Path) -> str:
    """Return what ``lmgrid run`` prints for a results folder, without trailing spaces."""
    rows = newest_rows(frame(Store(results)))
    screen = Console(file=io.StringIO(), width=WIDTH, highlight=False)
    for table in (overview(rows), speedups(rows)):
        screen.print(to_rich(table))
    assert isinstance(screen.file, io.StringIO)
    lines = (line.rstrip() for line in screen.file.getvalue().splitlines())
    return "\n".join(lines).strip("\n")


def blocks(published: Path) -> dict[str, str]:
    """Return the text of each block by its name."""
    lecture = Store(published / "lecture-table")
    return {
        "quickstart": f"```text\n{printed(published / 'quickstart')}\n```\n",
        "five-minutes": to_markdown(comparison(Store(published / "five-minutes")), heading=False),
        "lecture-table": "\n".join(
            to_markdown(table, heading=False) for table in (systems(lecture), extensions(lecture))
        ),
        "gradients": to_markdown(fading(Store(published / "gradients")), heading=False),
        "overhead": (published / "overhead/overhead.md").read_text("utf-8"),
        "device": (published / "device/device.md").read_text("utf-8"),
        "verdicts": (published / "verdicts/verdicts.md").read_text("utf-8"),
        "neural-speed": (published / "neural-speed/neural-speed.md").read_text("utf-8"),
    }


def filled(documents: Mapping[Path, str], made: Mapping[str, str]) -> dict[Path, str]:
    """Return the documents with each block written between its marks.

    Raises SystemExit if no document has the marks of a block.
    """
    texts = dict(documents)
    for name, block in made.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        marked = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
        places = [path for path, text in texts.items() if marked.search(text)]
        if not places:
            raise SystemExit(f"no document has {start.strip()} followed by {end}")
        new = f"{start}{block}{end}".replace("\\", r"\\")
        texts |= {path: marked.sub(new, texts[path]) for path in places}
    return texts


def read_documents(root: Path) -> dict[Path, str]:
    """Return the text of every document in which a published table may be shown."""
    paths = (root / "README.md", *sorted((root / "docs").glob("*.md")))
    return {path: path.read_text("utf-8") for path in paths}


def main() -> None:
    documents = read_documents(Path())
    for path, text in filled(documents, blocks(PUBLISHED)).items():
        if text != documents[path]:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
