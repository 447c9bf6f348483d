"""A copy of the product in another folder, with a process that says what its sources are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TOLD = """
import json, sys
from lmgrid.records import address
from lmgrid.source import closure
from lmgrid.plugin.registry import Registry
parts = [
    (f"{p.kind} {p.name}", p.part)
    for plugin in Registry.installed().plugins for p in plugin.provides if p.kind != "executor"
]
for _ in sys.stdin:
    closure.clear_caches()
    found = {}
    for runner in (address.MODEL_RUNNER, address.KERNEL_RUNNER):
        for one in closure.sources(parts, runner):
            found[one.name if one.name != "runner" else runner] = one.digest
    print(json.dumps(found), flush=True)
"""
# The published folders with records, each of a grid of that name.
PUBLISHED = tuple(sorted(path.parent.name for path in ROOT.glob("results/published/*/records")))
DATA = ROOT.parent / "shared" / "data"  # corpora that are not shipped, where they are at hand
LEFT = """
import json, sys
from pathlib import Path
from lmgrid.errors import UserError
from lmgrid.gridfile.reader import read_grid
from lmgrid.execution.plan import plan
from lmgrid.plugin.registry import Registry
from lmgrid.records.store import Store
root, *names = sys.argv[1:]
registry = Registry.installed()
left = {}
for name in names:
    try:
        path = Path(root, "benchmarks", f"{name}.toml")
        grid = read_grid(path, registry, require_extras=False)  # torch does not change addresses
        planned = plan(grid, Store(Path(root, "results", "published", name)), registry)
        left[name] = str(sum(not cell.recorded for cell in planned))
    except UserError as mistake:
        left[name] = str(mistake)
print(json.dumps(left))
"""
ENTRIES = """[lmgrid]
local = lmgrid.execution.local
ngram = lmgrid_ngram
rnn = lmgrid_rnn
snm = lmgrid_snm
text = lmgrid_text
torch = lmgrid_torch
transformer = lmgrid_transformer
window = lmgrid_window
lecture = lmgrid_lecture
"""


class Copied:
    """The product in a folder of its own, whose files may be edited, and its plugins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ignored = shutil.ignore_patterns("__pycache__")
        for source in (ROOT / "harness" / "lmgrid", *(ROOT / "plugins").glob("lmgrid_*")):
            if source.is_dir():
                shutil.copytree(source, folder / source.name, ignore=ignored)
            else:
                shutil.copy(source, folder)
        tops = [path.stem for path in folder.iterdir()]
        self.install("lmgrid", tops, ENTRIES)

    def install(self, name: str, tops: list[str], entries: str) -> None:
        """Write the metadata of a distribution."""
        info = self.folder / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "top_level.txt").write_text("\n".join(tops))
        (info / "entry_points.txt").write_text(entries)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def read(self, name: str) -> str:
        return (self.folder / name).read_text("utf-8")

    @contextmanager
    def edited(self, name: str, old: str, new: str) -> Iterator[None]:
        """Replace a text in a file for a while."""
        before = self.read(name)
        assert old in before
        self.write(name, before.replace(old, new))
        yield
        self.write(name, before)

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Undo afterwards whatever is done to Python files."""
        before = {path: path.read_bytes() for path in self.folder.rglob("*.py")}
        yield
        for path in set(self.folder.rglob("*.py")) - set(before):
            path.unlink()
        for path, data in before.items():
            path.write_bytes(data)

    def start(self) -> None:
        """Start the process; its parts are those of the files as they are now."""
        variables = {"PYTHONPATH": str(self.folder), "LMGRID_CACHE": str(self.folder / "cache")}
        self.process: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, "-B", "-c", TOLD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**os.environ, **variables},
        )

    def digests(self) -> dict[str, Any]:
        """Return the digests of all parts and runners, as the files are now."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def left_to_run(self, names: Iterable[str]) -> dict[str, str]:
        """Return how many cells of each published grid have no record, or why that is not known."""
        variables = {"PYTHONPATH": str(self.folder), "LMGRID_CACHE": str(self.folder / "cache")}
        done = subprocess.run(
            [sys.executable, "-B", "-c", LEFT, str(ROOT), *names],
            stdout=subprocess.PIPE,
            check=True,
            cwd=self.folder,
            env={**os.environ, "LMGRID_DATA": str(DATA), **variables},
            timeout=100,
        )
        found: dict[str, str] = json.loads(done.stdout)
        return found

    def close(self) -> None:
        self.process.communicate(timeout=60)
