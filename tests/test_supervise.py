"""Laws of supervision: whatever a worker does or lacks is an outcome, and no good file is lost."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from errno import EACCES, ENOSPC
from pathlib import Path
from typing import Literal

import pytest
from filelock import Timeout

from lmgrid.callbacks import Callbacks
from lmgrid.engine import StopSignal
from lmgrid.execution.attempt import Termination, attempt
from lmgrid.execution.job import Job, RunOptions
from lmgrid.execution.run import Run
from lmgrid.execution.supervise import _termination, deliver, store_failure, supervise
from lmgrid.grid import Grid
from lmgrid.plugin.registry import Registry
from lmgrid.records.record import Failure, KernelRecord, Record
from lmgrid.records.store import Store, StoreError
from lmgrid.result import Point

MakeGrid = Callable[..., Grid]
MakeJob = Callable[..., Job]
RESUMABLE = '[[models]]\nname = "counts"\nsteps = 3\nresumes = true'


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    store.create()
    return store


@pytest.fixture
def make_job(make_grid: MakeGrid, registry: Registry, store: Store) -> MakeJob:
    """Plan the first cell of a grid."""

    def make(text: str, retry: Literal["failed", "contended"] = "failed") -> Job:
        grid = make_grid(text)
        run = Run(grid, store, registry, options=RunOptions(retry=retry))
        return run.job(run.planned[0])

    return make


# ---------------------------------------------------------------- how workers begin and die


def test_a_module_that_cannot_be_imported_ends_no_run(tmp_path: Path) -> None:
    """What is imported ahead may raise anything: workers begin, and the good modules are there."""
    (tmp_path / "torn.py").write_text("raise OSError('libfoo.so: cannot open shared object file')")
    (tmp_path / "leaves.py").write_text("raise SystemExit(3)")
    (tmp_path / "good.py").write_text("")
    (tmp_path / "begin.py").write_text(
        "import sys\n"
        "from lmgrid.execution.supervise import CONTEXT, preload\n"
        "def work():\n    sys.exit(0 if 'good' in sys.modules else 7)\n"
        "if __name__ == '__main__':\n"
        "    preload(['torn', 'leaves', 'good'])\n"
        "    process = CONTEXT.Process(target=work)\n"
        "    process.start()\n"
        "    process.join()\n"
        "    sys.exit(process.exitcode)\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    ended = subprocess.run(
        [sys.executable, str(tmp_path / "begin.py")],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


def test_what_is_imported_ahead_does_not_touch_cuda(tmp_path: Path) -> None:
    """A process that is forked after CUDA was begun could not use it."""
    pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")
    (tmp_path / "begin.py").write_text(
        "import os, torch\n"
        "def touched(*_, **__):\n    os._exit(9)\n"
        "for name in ('_lazy_init', 'init', 'is_available', 'device_count', 'current_device'):\n"
        "    setattr(torch.cuda, name, touched)\n"
        "from lmgrid.plugin.registry import Registry\n"
        "from lmgrid.execution.supervise import preload\n"
        "parts = [p.part for p in Registry.installed().provided('model')]\n"
        "preload(module for part in parts for module in part.preload)\n"
        "import lmgrid.execution.preload, sys\n"
        "sys.exit(0 if 'lmgrid_torch.model' in sys.modules else 7)\n"
    )
    path = os.pathsep.join(filter(None, sys.path))
    ended = subprocess.run(
        [sys.executable, str(tmp_path / "begin.py")],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


def test_workers_begin_where_there_is_no_fork(
    make_job: MakeJob, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, each is a new interpreter; a death is an outcome there too."""
    monkeypatch.setattr("lmgrid.execution.supervise.CONTEXT", multiprocessing.get_context("spawn"))
    done = supervise(make_job('[[models]]\nname = "counts"'), Callbacks(), StopSignal())
    assert isinstance(done, Record)
    killed = make_job('[[models]]\nname = "counts"\nfault = "kill"')
    found = supervise(killed, Callbacks(), StopSignal())
    assert isinstance(found, Failure)
    assert (found.status, found.error) == ("killed", "SIGKILL")


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (11, "SIGSEGV"), (35, "signal 35")])
def test_the_signal_that_killed_is_named(make_job: MakeJob, number: int, name: str) -> None:
    """By its number where it has no name, as most real-time signals have not."""
    end = _termination("died", -number, make_job(RESUMABLE))
    assert end.status == "killed"
    assert end.cause == name


def test_the_end_of_a_cell_is_stored(make_job: MakeJob, store: Store) -> None:
    """With its status, the cause in words, and what it took."""
    job = make_job(RESUMABLE)
    found = store_failure(job, Termination("killed", "SIGKILL"), 1.5, 7)
    assert isinstance(found, Failure)
    assert (found.status, found.error, found.seconds) == ("killed", "SIGKILL", 1.5)
    assert found.peak_bytes == 7
    assert store.find(job.inputs.address) == found


# ---------------------------------------------------------------- checkpoints of what ended


def raising(error: BaseException) -> Callbacks:
    """Listen until the first point is kept, and then raise."""

    def on_point(point: Point) -> None:
        raise error

    return Callbacks(point=on_point)


@pytest.mark.parametrize(
    ("error", "stays"),
    [
        (MemoryError("no more"), True),
        (OSError(EACCES, "no access"), True),
        (RuntimeError("wrong"), False),
    ],
)
def test_a_checkpoint_outlives_a_machine_that_lacks_something(
    make_job: MakeJob, registry: Registry, store: Store, error: Exception, stays: bool
) -> None:
    """Memory or a disk may be there the next time, which goes on; wrong code begins anew."""
    job = make_job(RESUMABLE)
    assert isinstance(attempt(job, registry, raising(error)), Failure)
    assert store.checkpoint_folder(job.inputs.address).exists() == stays
    again = attempt(job, registry)
    assert isinstance(again, Record)
    assert again.resumed == int(stays)
    assert not store.checkpoint_folder(job.inputs.address).exists()


def test_a_folder_that_refuses_a_file_is_the_folders_fault(
    make_job: MakeJob, registry: Registry, store: Store
) -> None:
    """No cell is blamed for it; a file elsewhere that refuses is the cell's own matter."""
    job = make_job(RESUMABLE)
    refused = PermissionError(EACCES, "Permission denied", str(store.root / "checkpoints" / "x"))
    with pytest.raises(StoreError, match="Permission denied; what was finished is intact"):
        attempt(job, registry, raising(refused))
    assert list(store) == []


def test_a_disk_that_is_full_for_a_checkpoint_is_the_folders_fault(
    make_job: MakeJob, registry: Registry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No failure is stored, the last whole checkpoint stays, and the next run goes on from it."""
    job, seen = make_job(RESUMABLE), []

    def write(path: Path, data: bytes) -> None:
        seen.append(path.name)
        if path.name.startswith("state-") and len(seen) > 2:
            raise OSError(ENOSPC, "No space left on device")
        path.write_bytes(data)

    monkeypatch.setattr("lmgrid.cell.checkpoint.write_file", write)
    with pytest.raises(StoreError, match=r"No space left on device; what was finished is intact"):
        attempt(job, registry)
    monkeypatch.undo()
    assert list(store) == []
    again = attempt(job, registry)
    assert isinstance(again, Record)
    assert again.resumed == 1


# ---------------------------------------------------------------- what comes from elsewhere


def disturbed(record: Record | KernelRecord, started: str) -> Record | KernelRecord:
    noted = replace(record.provenance, others=1.5, started=started)
    return replace(record, provenance=noted)


@pytest.mark.parametrize("retry", ["failed", "contended"])
def test_what_is_delivered_replaces_what_was_contended(
    make_job: MakeJob, registry: Registry, store: Store, retry: str
) -> None:
    """The old record is kept aside if it was to be made again; else it stays, as do its weights."""
    job = make_job('[[models]]\nname = "counts"', retry)
    made = attempt(job, registry)
    assert isinstance(made, Record)
    store.replace_record(disturbed(made, "before"))
    aside = len(list((store.root / "superseded").iterdir()))
    found = deliver(job, replace(made, provenance=replace(made.provenance, others=0.0)), [])
    again = retry == "contended"
    assert found == store.find(job.inputs.address)
    assert (found.provenance.started == "before") != again
    assert len(list((store.root / "superseded").iterdir())) == aside + again
    assert list(store.verify()) == []


def test_what_is_delivered_waits_for_the_lock_of_its_cell(
    make_job: MakeJob, registry: Registry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever else runs the cell on this folder sees either nothing of it or all."""
    job = make_job('[[models]]\nname = "counts"')
    there = Store(store.root.with_name("there"))
    there.create()
    made = attempt(replace(job, root=there.root), registry)
    held: list[bool] = []

    def look(self: Store, address: str, draft: Path) -> None:
        try:
            with self.lock(address, wait=False):
                held.append(False)
        except Timeout:
            held.append(True)

    monkeypatch.setattr(Store, "keep_weights", look)
    assert deliver(job, made, [("counts.json", b"[]")]) == made
    assert held == [True]
