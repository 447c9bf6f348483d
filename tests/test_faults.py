"""Laws of a run that is killed again and again: no record is lost, torn, or made twice."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from time import monotonic, sleep

import psutil
import pytest
from click.testing import CliRunner

from lmgrid.cli import main
from lmgrid.gridfile import read_grid
from lmgrid.plan import plan
from lmgrid.record import Failure, Outcome
from lmgrid.registry import Registry
from lmgrid.store import Store

pytest.importorskip("safetensors", reason="checkpoints need the extra lmgrid[torch]")
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
class Ordeal:
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
            what, _, of = line.partition(" ")
            if what == "done":
                done.add(of)
            elif what == "begin" and of in done:
                yield f"begun again: {of}"
        yield from (f"lost: {address}" for address in done if not self.store.has(address))
        yield from (f"{damage.path}: {damage.reason}" for damage in self.store.damages())


def start_run(folder: Path, crashes: str, spoil: str, *options: str) -> subprocess.Popen[str]:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(FAULTS), *filter(None, sys.path)]),
        "LMGRID_CACHE": str(folder / "cache"),
        "LMGRID_CRASHES": str(folder / "crashes"),
        "LMGRID_CRASHES_AT": crashes,
        "LMGRID_CRASHES_SPOIL": spoil,
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", "from lmgrid.cli import main; main()"]
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


def plan_addresses(ordeal: Ordeal, registry: Registry, text: str) -> set[str]:
    """Write the grid of an ordeal; return the addresses of its cells."""
    path = ordeal.folder / "grid.toml"
    path.write_text(f'[[corpora]]\nname = "tiny"\n{text}')
    return {p.address for p in plan(read_grid(path, registry), ordeal.store, registry)}


def small_cells(count: int) -> str:
    priors = ", ".join(f"{i}.0" for i in range(1, count + 1))
    return f'[[models]]\nname = "counts"\nsteps = {STEPS}\nresumes = true\nprior = [{priors}]'


def trained_cells(count: int) -> str:
    training = (
        f'seeds = {list(range(count))}\noptimizers = ["adam"]\nbudget = {{ epochs = {STEPS} }}'
    )
    return f'[[models]]\nname = "window"\nhidden = 8\n{training}'


@pytest.fixture
def ordeal(tmp_path: Path) -> Ordeal:
    return Ordeal(tmp_path)


def endure(ordeal: Ordeal, addresses: set[str], kills: int) -> None:
    while len(ordeal.kills) < kills:
        ordeal.suffer()
        ordeal.lose_power()
        assert list(ordeal.violations()) == []
    finished = ordeal.run("", "-q")
    assert finished.returncode == 0
    ordeal.lose_power()
    assert list(ordeal.violations()) == []
    assert {p.stem for p in (ordeal.folder / "results/records").iterdir()} == addresses
    assert list(ordeal.folder.glob("results/drafts/*")) == []
    assert list(ordeal.folder.glob("results/checkpoints/*")) == []
    victims, moments = zip(*(line.split()[1:] for line in ordeal.kills), strict=True)
    assert ({*victims}, {*moments}) == ({"worker", "run"}, {*MOMENTS})


@pytest.mark.timeout(400)  # on a busy machine; alone it takes a tenth of that
def test_fifty_kills_lose_nothing(ordeal: Ordeal, registry: Registry) -> None:
    """Workers and runs killed at every moment, power lost: what was acknowledged stays, once."""
    endure(ordeal, plan_addresses(ordeal, registry, small_cells(65)), kills=50)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_hundred_kills_lose_nothing(ordeal: Ordeal, registry: Registry) -> None:
    """The same with networks that are trained, and go on from their checkpoints."""
    pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")
    endure(ordeal, plan_addresses(ordeal, registry, trained_cells(250)), kills=200)


@pytest.mark.parametrize(
    ("spoil", "crashes"), [("sync", "mid-training:run:9"), ("link", "before-link:worker:2")]
)
def test_the_ordeal_finds_a_careless_store(
    tmp_path: Path, registry: Registry, spoil: str, crashes: str
) -> None:
    """Without the sync acknowledged records are lost, without the link one is torn."""
    ordeal = Ordeal(tmp_path, spoil)
    plan_addresses(ordeal, registry, small_cells(9))
    ordeal.run(crashes)
    if spoil == "sync":
        ordeal.lose_power()
    assert list(ordeal.violations()) != []


FAULTY = """
[[models]]
name = "counts"
fault = ["raise", "kill", "segfault", "sleep", "nan", "memory", "hoard", ""]
"""


def test_each_fault_has_its_status_and_the_rest_is_done(ordeal: Ordeal, registry: Registry) -> None:
    """A cell that raises, dies, sleeps, hoards memory or returns NaN ends alone."""
    plan_addresses(ordeal, registry, FAULTY)
    done = ordeal.run("", "--timeout", "15", "--memory", "700M", "-q")
    assert done.returncode == 1
    ends = {fault_of(o): getattr(o, "status", "done") for o in ordeal.store}
    assert ends == {
        "raise": "error",
        "kill": "killed",
        "segfault": "killed",
        "sleep": "timeout",
        "nan": "diverged",
        "memory": "out-of-memory",
        "hoard": "out-of-memory",
        "": "done",
    }
    hoard = next(o for o in ordeal.store if fault_of(o) == "hoard")
    assert isinstance(hoard, Failure)
    assert hoard.error == "over 700 MB"
    assert 700_000_000 < (hoard.peak_bytes or 0) < 2_000_000_000


def fault_of(outcome: Outcome) -> str:
    assert outcome.inputs.cell is not None
    return str(dict(outcome.inputs.cell.model.options)["fault"])


def test_two_runs_at_once_share_the_work(ordeal: Ordeal, registry: Registry) -> None:
    """On one folder, each cell is begun once, and both end well."""
    addresses = plan_addresses(ordeal, registry, small_cells(8))
    (ordeal.folder / "crashes").mkdir()
    runs = [start_run(ordeal.folder, "", "", "-q") for _ in range(2)]
    ends = [(run.communicate(timeout=100), run.returncode)[1] for run in runs]
    assert ends == [0, 0]
    begun = [line.split()[1] for line in ordeal.log if line.startswith("begin")]
    assert sorted(begun) == sorted(addresses)


def test_a_full_disk_is_one_message(ordeal: Ordeal, registry: Registry) -> None:
    """ENOSPC ends the run with what was finished intact; the next run goes on."""
    addresses = plan_addresses(ordeal, registry, small_cells(4))
    full = Ordeal(ordeal.folder, spoil="full")
    ended = full.run()
    assert ended.returncode == 2
    assert "No space left on device; what was finished is intact" in full.said
    assert "Traceback" not in full.said
    assert len(list(full.store)) == 2
    assert list(full.store.damages()) == []
    assert ordeal.run("", "-q").returncode == 0
    assert {o.inputs.address for o in ordeal.store} == addresses


def test_a_full_file_system_is_one_message(ordeal: Ordeal, registry: Registry) -> None:
    """The same on a file system that is really full, where one may be mounted."""
    plan_addresses(ordeal, registry, small_cells(12))
    with small_file_system(ordeal.folder / "results", "size=48k"):
        ended = ordeal.run("", "-q", "--discard-models")
        assert ended.returncode == 2
        assert "No space left on device" in ordeal.said
        assert "Traceback" not in ordeal.said
        assert list(ordeal.store.damages()) == []
        assert list(ordeal.store) != []


@contextmanager
def small_file_system(folder: Path, options: str) -> Iterator[None]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("no file system may be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_damage_is_reported_by_verify(ordeal: Ordeal, registry: Registry) -> None:
    """A record that is cut short and one with a flipped bit are both named."""
    plan_addresses(ordeal, registry, small_cells(3))
    ordeal.run("", "-q", "-j", "0")
    cut, flipped, whole = sorted((ordeal.folder / "results" / "records").iterdir())
    cut.write_bytes(cut.read_bytes()[:-9])
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 4
    flipped.write_bytes(data)
    result = CliRunner().invoke(main, ["verify", str(ordeal.store.root)])
    assert result.exit_code == 1
    assert [path.name in result.stdout for path in (cut, flipped, whole)] == [True, True, False]
