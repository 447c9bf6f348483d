"""Laws of a run that is killed again and again: no record is lost, torn, or made twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from crash_harness import MOMENTS, CrashHarness, plan_addresses, small_cells, trained_cells

from lmgrid.execution.scheduler import run_grid
from lmgrid.gridfile.reader import read_grid
from lmgrid.plugin.registry import Registry
from lmgrid.records.record import Failure, Outcome, Record
from lmgrid.records.store import Store

pytest.importorskip("safetensors", reason="checkpoints need the extra lmgrid[torch]")


def endure(crash_harness: CrashHarness, registry: Registry, kills: int) -> None:
    """Kill until so many have died; then what was made must be what a quiet run makes."""
    grid = read_grid(crash_harness.folder / "grid.toml", registry)
    while len(crash_harness.kills) < kills:
        crash_harness.suffer()
        crash_harness.lose_power()
        assert list(crash_harness.violations()) == []
    finished = crash_harness.run("", "-q")
    assert finished.returncode == 0
    crash_harness.lose_power()
    assert list(crash_harness.violations()) == []
    assert list(crash_harness.folder.glob("results/drafts/*")) == []
    assert list(crash_harness.folder.glob("results/checkpoints/*")) == []
    victims, moments = zip(*(line.split()[1:] for line in crash_harness.kills), strict=True)
    assert ({*victims}, {*moments}) == ({"worker", "run"}, {*MOMENTS})
    quiet = run_grid(grid, Store(crash_harness.folder / "quiet"), registry=registry)
    assert {key(outcome) for outcome in crash_harness.store} == {key(outcome) for outcome in quiet}
    assert any(o.resumed for o in crash_harness.store if isinstance(o, Record))


def key(outcome: Outcome) -> tuple[object, ...]:
    """Return all that a record says of the model, and nothing of the time it took."""
    assert isinstance(outcome, Record)
    curve = tuple((point.tokens, point.train_nats, point.nats) for point in outcome.points)
    return outcome.inputs.address, curve, outcome.valid, outcome.test


@pytest.mark.timeout(400)  # on a busy machine; alone it takes a tenth of that
def test_fifty_kills_lose_nothing(crash_harness: CrashHarness, registry: Registry) -> None:
    """Workers and runs killed at every moment, power lost: what was acknowledged stays, once."""
    plan_addresses(crash_harness, registry, trained_cells(65))
    endure(crash_harness, registry, kills=50)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_hundred_kills_lose_nothing(crash_harness: CrashHarness, registry: Registry) -> None:
    """The same with neural networks."""
    pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")
    window = 'name = "window"\nhidden = 8\noptimizers = ["adam"]'
    plan_addresses(crash_harness, registry, trained_cells(250, window))
    endure(crash_harness, registry, kills=200)


@pytest.mark.parametrize(
    ("spoil", "crashes"), [("sync", "mid-training:run:9"), ("link", "before-link:worker:2")]
)
def test_the_ordeal_finds_a_careless_store(
    tmp_path: Path, registry: Registry, spoil: str, crashes: str
) -> None:
    """Without the sync acknowledged records are lost, without the link one is torn."""
    crash_harness = CrashHarness(tmp_path, spoil)
    plan_addresses(crash_harness, registry, small_cells(9))
    crash_harness.run(crashes)
    if spoil == "sync":
        crash_harness.lose_power()
    assert list(crash_harness.violations()) != []


FAULTY = """
[[models]]
name = "counts"
fault = ["raise", "kill", "segfault", "sleep", "nan", "memory", "hoard", ""]
"""


def test_each_fault_has_its_status_and_the_rest_is_done(
    crash_harness: CrashHarness, registry: Registry
) -> None:
    """A cell that raises, dies, sleeps, hoards memory or returns NaN ends alone."""
    plan_addresses(crash_harness, registry, FAULTY)
    done = crash_harness.run("", "--timeout", "8", "--memory", "700M", "-q")
    assert done.returncode == 1
    ends = {fault_of(o): getattr(o, "status", "done") for o in crash_harness.store}
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
    hoard = next(o for o in crash_harness.store if fault_of(o) == "hoard")
    assert isinstance(hoard, Failure)
    assert hoard.error == "over 700 MB"
    assert 700_000_000 < (hoard.peak_bytes or 0) < 2_000_000_000


def fault_of(outcome: Outcome) -> str:
    assert outcome.inputs.cell is not None
    return str(dict(outcome.inputs.cell.model.options)["fault"])
