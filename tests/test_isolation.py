"""Laws of a worker's process: what a cell does to it stays there, and nothing of it stays after."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from time import monotonic, sleep

import psutil
import pytest
from crash_harness import CrashHarness, plan_addresses, start_run

from lmgrid.machine.environment import usable_cores
from lmgrid.plugin.registry import Registry
from lmgrid.records.record import Failure, Outcome

pytest.importorskip("safetensors", reason="checkpoints need the extra lmgrid[torch]")


@pytest.fixture
def note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file where a fault notes the number of a process."""
    path = tmp_path / "note"
    monkeypatch.setenv("LMGRID_FAULTS_NOTE", str(path))
    return path


def faulty(*faults: str) -> str:
    return f'[[models]]\nname = "counts"\nfault = {json.dumps(faults)}'


def ends(crash_harness: CrashHarness) -> dict[str, Outcome]:
    """Return the outcomes by their fault."""
    return {str(dict(o.inputs.cell.model.options)["fault"]): o for o in crash_harness.store}  # type: ignore[union-attr]


def started(folder: Path, *options: str) -> subprocess.Popen[str]:
    (folder / "crashes").mkdir(exist_ok=True)
    return start_run(folder, "", "", *options)


def await_number(note: Path) -> int:
    deadline = monotonic() + 60
    while not (note.exists() and note.read_text()):
        assert monotonic() < deadline
        sleep(0.02)
    return int(note.read_text())


def await_end(number: int) -> None:
    """Wait until a process is no more, or only its parent has not heard of it yet."""
    deadline = monotonic() + 10
    while psutil.pid_exists(number) and psutil.Process(number).status() != psutil.STATUS_ZOMBIE:
        assert monotonic() < deadline, "it lives on"
        sleep(0.02)


@pytest.mark.parametrize("jobs", ["0", "1"])
def test_whatever_is_raised_is_an_error_with_its_words(
    crash_harness: CrashHarness, registry: Registry, jobs: str
) -> None:
    """Also words that no file can hold, none at all, and what else would end a process."""
    plan_addresses(crash_harness, registry, faulty("bytes", "mute", "exit", "raise", "move", ""))
    process = started(crash_harness.folder, "-q", "-j", jobs)
    said = process.communicate(timeout=100)[1]
    assert process.returncode == 1, said
    found = ends(crash_harness)
    assert {name: getattr(o, "status", "done") for name, o in found.items()} == {
        "bytes": "error", "mute": "error", "exit": "error", "raise": "error", "move": "done",
        "": "done",
    }  # fmt: skip
    told = {name: f"{o.error}: {o.message}" for name, o in found.items() if isinstance(o, Failure)}
    assert told["bytes"] == r"FileNotFoundError: [Errno 2] No such file: 'name \udcff.txt'"
    assert told["mute"] == "_Mute: its message cannot be shown: ValueError"
    assert told["exit"] == "SystemExit: 3"
    assert "Traceback" not in said
    assert "\x1b" not in said


def test_a_cell_that_interrupts_itself_is_an_error(
    crash_harness: CrashHarness, registry: Registry
) -> None:
    """In a worker nobody else can have meant it."""
    plan_addresses(crash_harness, registry, faulty("interrupt", ""))
    assert crash_harness.run("", "-q").returncode == 1
    found = ends(crash_harness)["interrupt"]
    assert isinstance(found, Failure)
    assert found.error == "KeyboardInterrupt"


@pytest.mark.parametrize("jobs", ["0", "1"])
def test_what_a_cell_prints_is_no_result(
    crash_harness: CrashHarness, registry: Registry, jobs: str
) -> None:
    """Standard output has the answer alone."""
    plan_addresses(crash_harness, registry, faulty("print"))
    process = started(crash_harness.folder, "-q", "--json", "-j", jobs)
    out, err = process.communicate(timeout=100)
    assert "printed on purpose" in err
    if jobs == "1":  # in the process of the command nothing is between a cell and its files
        assert json.loads(out)[0]["status"] == "done"


def test_a_child_that_outlives_its_worker_holds_up_nothing(
    crash_harness: CrashHarness, registry: Registry, note: Path
) -> None:
    """The cell has ended when its worker has; what that left is killed."""
    plan_addresses(crash_harness, registry, faulty("leave-child", ""))
    begun = monotonic()
    process = started(crash_harness.folder, "-q")
    process.communicate(timeout=50)
    assert monotonic() - begun < 40, "the child of sixty seconds was waited for"
    found = ends(crash_harness)
    assert isinstance(found["leave-child"], Failure)
    assert found["leave-child"].error == "worker ended with exit status 5"
    assert not isinstance(found[""], Failure)
    await_end(await_number(note))


def test_a_limit_ends_what_a_worker_started_too(
    crash_harness: CrashHarness, registry: Registry, note: Path
) -> None:
    """A program that a cell has started does not outlive the cell."""
    plan_addresses(crash_harness, registry, faulty("keep-child"))
    process = started(crash_harness.folder, "-q", "--timeout", "2")
    process.communicate(timeout=50)
    assert getattr(ends(crash_harness)["keep-child"], "status", "") == "timeout"
    await_end(await_number(note))


@pytest.mark.skipif(not Path("/proc").exists(), reason="the system kills orphans on Linux alone")
def test_a_worker_that_holds_its_interpreter_ends_with_the_run(
    crash_harness: CrashHarness, registry: Registry, note: Path
) -> None:
    """No thread of it can see that the run is gone; the system does."""
    plan_addresses(crash_harness, registry, faulty("hold"))
    process = started(crash_harness.folder, "-q")
    number = await_number(note)
    process.kill()
    process.communicate(timeout=30)
    await_end(number)


# ---------------------------------------------------------------- signals to all at once


SLOW = '[[models]]\nname = "counts"\npause = 1.5\nprior = [1.0, 2.0, 3.0, 4.0]'


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_whole_group_lets_the_running_cell_finish(
    crash_harness: CrashHarness, registry: Registry, number: signal.Signals
) -> None:
    """As a terminal sends it, and a queue: to the run, its server and its workers."""
    plan_addresses(crash_harness, registry, SLOW)
    process = started(crash_harness.folder, "-q")
    while not any(line.startswith("begin") for line in crash_harness.log):
        sleep(0.02)
    os.killpg(process.pid, number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert "the same command continues from here" in said
    assert [getattr(o, "status", "done") for o in crash_harness.store] == ["done"]


@pytest.mark.parametrize("after", [0.1, 0.8])
def test_an_early_signal_is_no_traceback(
    crash_harness: CrashHarness, registry: Registry, after: float
) -> None:
    """Also while the server of the workers imports what they need, the run ends as interrupted."""
    plan_addresses(crash_harness, registry, SLOW)
    process = started(crash_harness.folder, "-q")
    while not (crash_harness.folder / "results" / "locks").exists():
        sleep(0.01)
    sleep(after)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert "the same command continues from here" in said
    assert "Traceback" not in said
    assert [getattr(o, "status", "done") for o in crash_harness.store] in ([], ["done"])


# ---------------------------------------------------------------- two runs on one folder


def test_two_runs_share_the_cells_and_the_time(
    crash_harness: CrashHarness, registry: Registry
) -> None:
    """A cell that the other run has is left to it, while there are others to do; each is done once.

    Both runs end well.
    """
    addresses = plan_addresses(crash_harness, registry, SLOW)
    runs = [started(crash_harness.folder, "-q") for _ in range(2)]
    for run in runs:
        run.communicate(timeout=100)
    assert [run.returncode for run in runs] == [0, 0]
    begun = [line.split()[2] for line in crash_harness.log if line.startswith("begin")]
    assert len(begun) == 4
    assert len(set(begun)) == 2, "one run waited for the other's cells"
    assert {o.inputs.address for o in crash_harness.store} == addresses
    assert list(crash_harness.violations()) == []


def test_a_run_that_only_waits_stops_at_once(
    crash_harness: CrashHarness, registry: Registry
) -> None:
    """The cell is the other run's; asked to stop, nobody waits for it, and nobody begins it."""
    plan_addresses(crash_harness, registry, '[[models]]\nname = "counts"\npause = 40.0')
    first = started(crash_harness.folder, "-q")
    while not any(line.startswith("begin") for line in crash_harness.log):
        sleep(0.02)
    second = started(crash_harness.folder, "-q")
    while len(psutil.Process(second.pid).children(recursive=True)) < 3:
        sleep(0.02)  # until it has a tracker of resources, a server, and a worker
    sleep(1)
    second.send_signal(signal.SIGINT)
    said = second.communicate(timeout=15)[1]
    assert second.returncode == 130, said
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate(timeout=30)
    assert len([line for line in crash_harness.log if line.startswith("begin")]) == 1


def test_a_store_that_is_lost_ends_the_other_cells_at_once(
    crash_harness: CrashHarness, registry: Registry
) -> None:
    """Nothing of what still runs could be kept, so nobody waits for it."""
    if usable_cores() < 2:
        pytest.skip("two cells side by side need two cores")
    plan_addresses(crash_harness, registry, '[[models]]\nname = "counts"\npause = [0.5, 30.0]')
    process = started(crash_harness.folder, "-q", "-j", "2")
    while len([line for line in crash_harness.log if line.startswith("begin")]) < 2:
        sleep(0.02)
    (crash_harness.folder / "results").rename(crash_harness.folder / "away")
    said = process.communicate(timeout=20)[1]
    assert process.returncode == 2
    assert "the results folder was taken away" in said
