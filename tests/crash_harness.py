"""A grid in a folder that is run as a user runs it, and killed at named moments."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from time import monotonic, sleep

import psutil

from lmgrid.execution.plan import plan
from lmgrid.gridfile.reader import read_grid
from lmgrid.plugin.registry import Registry
from lmgrid.records.store import Store

FAULTS = Path(__file__).parent / "faults"
STEPS = 2  # of training, each with a checkpoint
PASSES = {  # how often a cell comes to a moment
    "before-lock": 1,
    "mid-training": STEPS,
    "mid-checkpoint": STEPS,
    "before-link": 1,
    "after-link": 1,
}
MOMENTS = tuple(PASSES)


@dataclass
class CrashHarness:
    """A grid that is run again and again, and killed at random moments."""

    folder: Path
    spoil: str = ""
    random: random.Random = field(default_factory=lambda: random.Random(5))
    pairs: list[tuple[str, str]] = field(default_factory=list)
    said: str = ""  # what the last run wrote to standard error

    @property
    def store(self) -> Store:
        return Store(self.folder / "results")

    def run(self, crashes: str = "", *options: str) -> subprocess.Popen[str]:
        """Run the grid in a session of its own until all its processes are gone."""
        counts = self.folder / "crashes"
        counts.mkdir(exist_ok=True)
        for moment in MOMENTS:
            (counts / moment).unlink(missing_ok=True)
        process = start_run(self.folder, crashes, self.spoil, *options)
        self.said = process.communicate(timeout=100)[1]
        _await_end_of_session(process.pid)
        return process

    def suffer(self) -> None:
        """Run with every other worker killed at one moment, and the run itself at another."""
        if not self.pairs:
            self.pairs = list(permutations(MOMENTS, 2))
            self.random.shuffle(self.pairs)
        worker, run = self.pairs.pop()
        cells = self.random.randint(3, 5)
        self.run(f"{run}:run:{cells * PASSES[run]},{worker}:worker:{2 * PASSES[worker]}")

    def lose_power(self) -> None:
        """Take from the records what was never synced: bytes of files, and names of the folder."""
        told = [line.split() for line in self.log]
        files = {tuple(map(int, words[1:])) for words in told if words[0] == "bytes"}
        names = {words[1] for words in told if words[0] == "name"}
        for path in (self.folder / "results" / "records").glob("*.json"):
            state = path.stat()
            if path.name not in names:
                path.unlink()
            elif (state.st_ino, state.st_size) not in files:
                path.write_bytes(path.read_bytes()[: state.st_size // 2])

    @property
    def log(self) -> list[str]:
        path = self.folder / "crashes" / "log"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def kills(self) -> list[str]:
        return [line for line in self.log if line.startswith("kill")]

    def violations(self) -> Iterator[str]:
        """Yield each acknowledged record that is lost or was begun again, and each torn one."""
        done: set[str] = set()
        for line in self.log:
            what, of = line.split()[:2]
            if what == "done":
                done.add(of)
            elif what == "begin" and of in done:
                yield f"begun again: {of}"
        yield from (f"lost: {address}" for address in done if not self.store.has(address))
        yield from (f"{damage.path}: {damage.reason}" for damage in self.store.verify())


def start_run(folder: Path, crashes: str, spoil: str, *options: str) -> subprocess.Popen[str]:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(FAULTS), *filter(None, sys.path)]),
        "LMGRID_CACHE": str(folder / "cache"),
        "LMGRID_CRASHES": str(folder / "crashes"),
        "LMGRID_CRASHES_AT": crashes,
        "LMGRID_CRASHES_SPOIL": spoil,
        "OMP_NUM_THREADS": "1",
    }
    # What is around the tests may have asked not to hear of it, as nohup does.
    heard = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)"
    command = [sys.executable, "-c", f"{heard}; from lmgrid.cli import main; main()"]
    arguments = ["run", "grid.toml", "--results", "results", *options]
    return subprocess.Popen(
        [*command, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _await_end_of_session(session: int) -> None:
    deadline = monotonic() + 30
    while any(_is_of(process, session) for process in psutil.process_iter()):
        assert monotonic() < deadline, "an orphan goes on"
        sleep(0.02)


def _is_of(process: psutil.Process, session: int) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and os.getsid(process.pid) == session
    except (psutil.Error, ProcessLookupError):
        return False


def plan_addresses(crash_harness: CrashHarness, registry: Registry, text: str) -> set[str]:
    """Write the grid of an crash_harness; return the addresses of its cells."""
    path = crash_harness.folder / "grid.toml"
    path.write_text(f'[[corpora]]\nname = "tiny"\n{text}')
    return {p.address for p in plan(read_grid(path, registry), crash_harness.store, registry)}


def small_cells(count: int) -> str:
    priors = ", ".join(f"{i}.0" for i in range(1, count + 1))
    return f'[[models]]\nname = "counts"\nsteps = {STEPS}\nresumes = true\nprior = [{priors}]'


def trained_cells(count: int, model: str = 'name = "learner"') -> str:
    training = f"seeds = {list(range(count))}\nbudget = {{ epochs = {STEPS} }}"
    return f"[[models]]\n{model}\n{training}"
