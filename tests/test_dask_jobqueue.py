"""Laws of workers that are jobs of a queue: a Slurm that starts each job at once, here."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import psutil
import pytest
from crash_harness import FAULTS

from lmgrid.records.record import Record
from lmgrid.records.store import Store

pytest.importorskip("dask_jobqueue", reason="needs the extra lmgrid[dask]")

DOCS = Path(__file__).parent.parent / "docs" / "execution.md"
LOOPBACK = next(name for name in psutil.net_if_addrs() if name.startswith("lo"))
SBATCH = """
import subprocess, sys
script = open(sys.argv[1]).read()  # which is gone once this ends
open("scripts", "a").write(script)
job = ["sh", "-c", script] if MODE == "free" else ["sleep", "60"]
quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
print("Submitted batch job", subprocess.Popen(job, start_new_session=True, **quiet).pid)
"""
SCANCEL = """
import os, signal, sys
os.killpg(int(sys.argv[1]), signal.SIGTERM)
"""
SLOW_CELLS = '[[corpora]]\nname = "tiny"\n[[models]]\nname = "counts"\n'
pytestmark = pytest.mark.timeout(120)


@dataclass(frozen=True)
class Slurm:
    """A folder with a grid, what Slurm's commands are there, and what they were told."""

    folder: Path

    def install(self, mode: str) -> None:
        """Make the commands: jobs begin at once (``free``) or wait for ever (``full``)."""
        for name, source in (("sbatch", f"MODE = {mode!r}{SBATCH}"), ("scancel", SCANCEL)):
            (self.folder / f"{name}.py").write_text(source)
            path = self.folder / name
            path.write_text(f'#!/bin/sh\nexec {sys.executable} {path}.py "$@"\n')
            path.chmod(0o755)

    def refuse(self) -> None:
        """Make a ``sbatch`` that takes no job."""
        path = self.folder / "sbatch"
        path.write_text("#!/bin/sh\necho Invalid account >&2\nexit 1\n")

    def run(self, grid: str, *options: str) -> subprocess.Popen[str]:
        (self.folder / "grid.toml").write_text(grid)
        command = [sys.executable, "-c", "from lmgrid.cli import main; main()", "run", "grid.toml"]
        environment = os.environ | {
            "PATH": os.pathsep.join([str(self.folder), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join([str(FAULTS), *filter(None, sys.path)]),
            "DASK_CONFIG": str(self.folder / "jobqueue.yaml"),
            "DASK_JOBQUEUE__SLURM__INTERFACE": LOOPBACK,
            "DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT": "1s",
            "LMGRID_CACHE": str(self.folder / "cache"),
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.Popen(
            [*command, "--results", "results", *options],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def store(self) -> Store:
        return Store(self.folder / "results")

    @property
    def scripts(self) -> str:
        return (self.folder / "scripts").read_text()

    @property
    def sessions(self) -> set[int]:
        """The jobs, each of which is a session, that have a process which is not gone."""
        return {os.getsid(p.pid) for p in psutil.process_iter() if self._is_of_job(p)}

    def _is_of_job(self, process: psutil.Process) -> bool:
        try:
            here = process.cwd() == str(self.folder) and process.status() != "zombie"
            return here and os.getsid(process.pid) != os.getsid(0)
        except (psutil.Error, ProcessLookupError):
            return False


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Slurm]:
    """Be configured as docs/execution.md says."""
    found = re.search(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    (tmp_path / "jobqueue.yaml").write_text(found[1])
    slurm = Slurm(tmp_path)
    slurm.install("free")
    yield slurm
    for job in slurm.sessions:
        os.killpg(job, signal.SIGKILL)


def executor(**more: object) -> tuple[str, str]:
    options = ",".join(f"{k}={v}" for k, v in {"jobqueue": "SLURMCluster", **more}.items())
    return "--executor", f"dask[{options}]"


def wait_until(slurm: Slurm, *, records: int = 0, jobs: int = 0) -> None:
    deadline = monotonic() + 60
    while slurm.store.count() < records or len(slurm.sessions) < jobs:
        assert monotonic() < deadline
        sleep(0.1)


@pytest.mark.slow
def test_a_grid_runs_on_jobs_of_slurm(slurm: Slurm) -> None:
    """Every cell is recorded, jobs are what the documented settings say, and none is left."""
    (slurm.folder / "all.txt").write_text("the students opened their books\n" * 40)
    corpus = '[[corpora]]\nname = "file"\npath = "all.txt"\n'
    run = slurm.run(
        f'{corpus}[[models]]\nname = "ngram"\norder = [1, 2, 3]', *executor(), "-j", "2"
    )
    _, said = run.communicate(timeout=60)
    assert run.returncode == 0, said
    assert "Traceback" not in said
    assert slurm.store.count() == 3
    assert slurm.scripts.count("#SBATCH --gres=gpu:1\n") == 2
    assert slurm.scripts.count("--nthreads 4 ") == slurm.scripts.count("--resources GPU=1") == 2
    assert not slurm.sessions


@pytest.mark.slow
def test_a_job_that_ends_is_submitted_again(slurm: Slurm) -> None:
    """The only job is killed in the middle of a cell, as at its time limit; the grid goes on."""
    run = slurm.run(f"{SLOW_CELLS}steps = 4\npause = 0.5\nprior = [1.0, 2.0]", *executor())
    wait_until(slurm, records=1)
    for job in slurm.sessions:
        os.killpg(job, signal.SIGKILL)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 0, said
    assert [type(outcome) for outcome in slurm.store] == [Record] * 2
    assert slurm.scripts.count("#!") == 2
    assert not slurm.sessions


@pytest.mark.slow
def test_a_worker_that_leaves_in_time_costs_no_try(slurm: Slurm) -> None:
    """Under ``--lifetime`` it gives its cell to the next job, which goes on from the last point."""
    path = slurm.folder / "jobqueue.yaml"
    path.write_text(re.sub(r'"--lifetime", "\w+"', '"--lifetime", "2s"', path.read_text()))
    cell = f"{SLOW_CELLS}steps = 8\npause = 0.5\nresumes = true"
    run = slurm.run(cell, *executor(retries=0))
    _, said = run.communicate(timeout=60)
    assert run.returncode == 0, said
    assert slurm.scripts.count("--lifetime 2s") >= 2
    assert not slurm.sessions


@pytest.mark.slow
def test_an_interrupt_cancels_the_jobs(slurm: Slurm) -> None:
    """A second Ctrl-C ends running cells and their jobs, and the same command can go on."""
    run = slurm.run(f'{SLOW_CELLS}fault = ["", "sleep"]', *executor())
    wait_until(slurm, records=1)
    for _ in range(2):
        run.send_signal(signal.SIGINT)
        sleep(0.2)
    _, said = run.communicate(timeout=30)
    assert run.returncode == 130, said
    assert "Traceback" not in said
    assert slurm.store.count() == 1
    assert not slurm.sessions


@pytest.mark.slow
def test_an_interrupt_ends_the_wait_for_a_full_queue(slurm: Slurm) -> None:
    """However long ``wait`` is, Ctrl-C takes back jobs that were not begun."""
    slurm.install("full")
    run = slurm.run(SLOW_CELLS, *executor(wait=86400))
    wait_until(slurm, jobs=1)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=30)
    assert run.returncode == 130, said
    assert "interrupted; the same command continues from here" in said
    assert not slurm.sessions


@pytest.mark.slow
def test_a_queue_that_stays_full_is_a_mistake(slurm: Slurm) -> None:
    """After ``wait`` seconds the run ends, and its jobs with it."""
    slurm.install("full")
    run = slurm.run(SLOW_CELLS, *executor(wait=1))
    _, said = run.communicate(timeout=30)
    assert "Error: dask: no worker could be reached: none came within 1 s" in said
    assert not slurm.sessions


def test_a_job_that_is_refused_is_a_mistake(slurm: Slurm) -> None:
    """What the queue says of it is told at once."""
    slurm.refuse()
    _, said = slurm.run(SLOW_CELLS, *executor(), "-j", "2").communicate(timeout=30)
    assert "Error: dask: a job could not be submitted" in said
    assert "Invalid account" in said
    assert "Traceback" not in said


def test_settings_that_lack_are_a_mistake(slurm: Slurm) -> None:
    """Without how large a job is, none is submitted."""
    (slurm.folder / "jobqueue.yaml").write_text("{}")
    _, said = slurm.run(SLOW_CELLS, *executor()).communicate(timeout=30)
    assert "Error: dask: SLURMCluster lacks settings, see docs/execution.md" in said
    assert "Traceback" not in said
