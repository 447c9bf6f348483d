"""Laws of a run that is killed again and again: no record is lost, torn, or made twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from ordeal import MOMENTS, Ordeal, plan_addresses, small_cells, trained_cells

from lmgrid.execution.scheduler import run_here
from lmgrid.gridfile.reader import read_grid
from lmgrid.plugin.registry import Registry
from lmgrid.records.record import Failure, Outcome, Record
from lmgrid.records.store import Store

pytest.importorskip("safetensors", reason="checkpoints need the extra lmgrid[torch]")


def endure(ordeal: Ordeal, registry: Registry, kills: int) -> None:
    """Kill until so many have died; then what was made must be what a quiet run makes."""
    grid = read_grid(ordeal.folder / "grid.toml", registry)
    while len(ordeal.kills) < kills:
        ordeal.suffer()
        ordeal.lose_power()
        assert list(ordeal.violations()) == []
    finished = ordeal.run("", "-q")
    assert finished.returncode == 0
    ordeal.lose_power()
    assert list(ordeal.violations()) == []
    assert list(ordeal.folder.glob("results/drafts/*")) == []
    assert list(ordeal.folder.glob("results/checkpoints/*")) == []
    victims, moments = zip(*(line.split()[1:] for line in ordeal.kills), strict=True)
    assert ({*victims}, {*moments}) == ({"worker", "run"}, {*MOMENTS})
    quiet = run_here(grid, Store(ordeal.folder / "quiet"), registry)
    assert {key(outcome) for outcome in ordeal.store} == {key(outcome) for outcome in quiet}
    assert any(o.resumed for o in ordeal.store if isinstance(o, Record))


def key(outcome: Outcome) -> tuple[object, ...]:
    """Return all that a record says of the model, and nothing of the time it took."""
    assert isinstance(outcome, Record)
    curve = tuple((point.tokens, point.train_nats, point.nats) for point in outcome.points)
    return outcome.inputs.address, curve, outcome.valid, outcome.test


@pytest.mark.timeout(400)  # on a busy machine; alone it takes a tenth of that
def test_fifty_kills_lose_nothing(ordeal: Ordeal, registry: Registry) -> None:
    """Workers and runs killed at every moment, power lost: what was acknowledged stays, once."""
    plan_addresses(ordeal, registry, trained_cells(65))
    endure(ordeal, registry, kills=50)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_hundred_kills_lose_nothing(ordeal: Ordeal, registry: Registry) -> None:
    """The same with neural networks."""
    pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")
    window = 'name = "window"\nhidden = 8\noptimizers = ["adam"]'
    plan_addresses(ordeal, registry, trained_cells(250, window))
    endure(ordeal, registry, kills=200)


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
    done = ordeal.run("", "--timeout", "8", "--memory", "700M", "-q")
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
