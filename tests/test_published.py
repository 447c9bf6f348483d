"""Published numbers are those of today's code: a cell of each kind in each folder is replayed."""

from __future__ import annotations

import os

import pytest
from copied import DATA, PUBLISHED, ROOT

from lmgrid.execution.replay import replay_each
from lmgrid.grid import AnyCell, Cell
from lmgrid.machine.environment import cache_folder
from lmgrid.plugin.registry import Registry
from lmgrid.records.record import KernelRecord, Record
from lmgrid.records.store import Store
from lmgrid.spec import Place


def kind_of(cell: AnyCell) -> tuple[object, ...]:
    """Return what cells of one kind have alike."""
    if isinstance(cell, Cell):
        options = dict(cell.model.options)
        return cell.model.name, options.get("output"), options.get("cell"), cell.optimizer
    return (cell.kernel.name,)


def first_of_each_kind(folder: Store) -> list[Record | KernelRecord]:
    """Return one record of each kind of cell."""
    found: dict[tuple[object, ...], Record | KernelRecord] = {}
    for outcome in sorted(folder, key=lambda outcome: outcome.inputs.address):
        assert isinstance(outcome, (Record, KernelRecord))
        found.setdefault(kind_of(outcome.inputs.any_cell), outcome)
    return list(found.values())


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", PUBLISHED)
def test_one_point_replays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit on the processor that it was recorded on; else by its first steps."""
    if DATA.is_dir():
        monkeypatch.setitem(os.environ, "LMGRID_DATA", str(DATA))
    records = first_of_each_kind(Store(ROOT / "results" / "published" / name))
    assert records
    place = Place(ROOT / "benchmarks", cache_folder())
    verdicts = list(replay_each(records, Registry.installed(), [place], points=1))
    told = {v.record.inputs.any_cell.label: (v.status, v.why) for v in verdicts}
    allowed = {"equal"} if DATA.is_dir() or name != "five-minutes" else {"equal", "not comparable"}
    assert {status for status, _ in told.values()} <= allowed, told
    assert all(v.is_current for v in verdicts if v.status == "equal"), told
