"""Laws of Ctrl-C with dask: a terminal tells every process, and the run alone decides."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import psutil
import pytest
from crash_harness import start_run

from lmgrid.records.store import Store

pytest.importorskip("distributed", reason="needs the extra lmgrid[dask]")
pytestmark = pytest.mark.timeout(90)
needs_groups = pytest.mark.skipif(sys.platform == "win32", reason="needs groups of processes")
SLEEPER = '[[corpora]]\nname = "tiny"\n[[models]]\nname = "counts"\nfault = ["", "sleep"]\n'
SLOW = (
    '[[corpora]]\nname = "tiny"\n[[models]]\nname = "counts"\n'
    "prior = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]\nsteps = 4\npause = 0.5\n"
)


@dataclass(frozen=True)
class Started:
    """A run with dask on this machine, which heads the session of all its processes."""

    process: subprocess.Popen[str]
    folder: Path

    def tell(self, number: int) -> None:
        os.killpg(self.process.pid, number)

    def end(self, seconds: float) -> tuple[int, str]:
        _, said = self.process.communicate(timeout=seconds)
        return self.process.returncode, said

    @property
    def store(self) -> Store:
        return Store(self.folder / "results")

    @property
    def session(self) -> set[int]:
        return {p.pid for p in psutil.process_iter() if self._has(p)}

    def _has(self, process: psutil.Process) -> bool:
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE
            return alive and os.getsid(process.pid) == self.process.pid
        except (psutil.Error, ProcessLookupError):
            return False

    @property
    def begun(self) -> int:
        log = self.folder / "crashes" / "log"
        return log.read_text().count("begin ") if log.exists() else 0

    def wait_for_cells(self, count: int) -> None:
        """Wait until so many have begun."""
        deadline = monotonic() + 40
        while self.begun < count:
            assert monotonic() < deadline
            assert self.process.poll() is None
            sleep(0.05)

    def wait_for_silence(self, seconds: float) -> None:
        deadline = monotonic() + seconds
        while self.session:
            assert monotonic() < deadline, "an orphan goes on"
            sleep(0.05)


def begin(folder: Path, grid: str) -> Started:
    (folder / "crashes").mkdir()
    (folder / "grid.toml").write_text(grid)
    return Started(start_run(folder, "", "", "--executor", "dask", "-q"), folder)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Started]:
    yield from ended(begin(tmp_path, SLOW))


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Started]:
    yield from ended(begin(tmp_path, SLEEPER))


def ended(run: Started) -> Iterator[Started]:
    try:
        yield run
    finally:
        for pid in run.session:
            os.kill(pid, signal.SIGKILL)


@needs_groups
@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_to_all_lets_the_running_cell_finish(slow: Started, name: str) -> None:
    """The cell that runs is recorded, and none is begun after it."""
    slow.wait_for_cells(1)
    slow.tell(getattr(signal, name))
    status, said = slow.end(30)
    assert (status, "the same command continues" in said) == (130, True), said
    assert "Traceback" not in said
    assert [getattr(outcome, "status", "done") for outcome in slow.store] == ["done"]
    assert slow.begun == 1
    slow.wait_for_silence(10)


@needs_groups
@pytest.mark.slow
def test_a_second_one_ends_at_once(sleeper: Started) -> None:
    """What sleeps for a minute is ended in seconds; the store can be gone on from."""
    sleeper.wait_for_cells(2)
    for _ in range(2):
        sleeper.tell(signal.SIGINT)
        sleep(0.2)
    status, said = sleeper.end(20)
    assert (status, "the same command continues" in said) == (130, True), said
    assert "Traceback" not in said
    assert [getattr(outcome, "status", "done") for outcome in sleeper.store] == ["done"]
    assert list(sleeper.store.verify()) == []
    sleeper.wait_for_silence(10)


@needs_groups
@pytest.mark.slow
def test_workers_that_stand_still_do_not_hold_up_the_end(sleeper: Started) -> None:
    """They never say that their cells ended, and nobody waits longer than a few seconds."""
    sleeper.wait_for_cells(2)
    for pid in sleeper.session:
        if "--multiprocessing-fork" in psutil.Process(pid).cmdline():
            os.kill(pid, signal.SIGSTOP)
    for _ in range(2):
        sleeper.process.send_signal(signal.SIGINT)
        sleep(0.2)
    status, said = sleeper.end(40)
    assert status == 130, said


@needs_groups
@pytest.mark.slow
def test_no_worker_outlives_a_run_that_is_killed(sleeper: Started) -> None:
    """Nobody could tell it to end."""
    sleeper.wait_for_cells(2)
    sleeper.process.kill()
    sleeper.end(10)
    sleeper.wait_for_silence(15)


def test_a_cluster_of_this_machine_starts_with_signals_blocked() -> None:
    """What starts workers blocks what a terminal sends, so they do from birth; no other thread."""
    from threading import Thread

    from lmgrid.execution.worker import STOP_SIGNALS
    from lmgrid_dask.local import open_local

    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with pytest.MonkeyPatch.context() as patched:
        seen = list[set[int]]()

        def cluster(**options: object) -> str:
            look = Thread(target=lambda: seen.append(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
            look.start()
            look.join()
            return "cluster"

        patched.setattr("lmgrid_dask.local.LocalCluster", cluster)
        assert open_local(n_workers=1) == "cluster"
    assert set(STOP_SIGNALS) <= seen[0]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
