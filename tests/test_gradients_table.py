"""Laws of the table of gradients: each network once, twice where clipping changed it."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import pytest

from lmgrid.records.record import Record
from lmgrid.records.store import Store

gradients = importlib.import_module("lmgrid_benchmarks.gradients")
PUBLISHED = Path(__file__).parent.parent / "results/published/gradients"


def published() -> list[Record]:
    return [outcome for outcome in Store(PUBLISHED) if isinstance(outcome, Record)]


def names(records: list[Record]) -> list[str]:
    return [row[0] for row in gradients.fading(records).rows]


def test_no_network_is_left_out() -> None:
    """Every model of the records has a line without clipping, and its name is its own."""
    plain = [name for name in names(published()) if "clipped" not in name]
    assert len({*plain}) == len(plain) == len({record.cell.model for record in published()})


def test_a_network_stands_twice_where_clipping_changed_a_figure() -> None:
    """Clipped records with the readings of the plain ones add no line."""
    records = published()
    points = {r.cell.model: r.points for r in records if not r.cell.regularizers}
    same = [replace(record, points=points[record.cell.model]) for record in records]
    assert any("clipped" in name for name in names(records))
    assert not any("clipped" in name for name in names(same))


def test_the_newest_record_counts() -> None:
    """Whatever order the store gives them in."""
    old, *_ = (record for record in published() if not record.cell.regularizers)
    readings = tuple(replace(reading, value=0.5) for reading in old.points[-1].readings)
    last = replace(old.points[-1], readings=readings)
    late = replace(old.provenance, started="9999-01-01T00:00:00+00:00")
    new = replace(old, points=(last,), provenance=late)
    for records in ([old, new], [new, old]):
        assert gradients.fading(records).rows[0][1:] == ("0.50",) * 5


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.2376], "0.24"),
        ([0.3005, 0.1], "0.30"),
        ([14.86], "15"),
        ([104_561.3], "105,000"),
        ([0.0056073], "0.0056"),
        ([9.4e-08], "9e-8"),
        ([0.0], "0"),
        ([0.2, None], "not finite"),
    ],
)
def test_a_figure_has_the_digits_that_tell(values: list[float | None], text: str) -> None:
    """The largest value, with two digits where they are worth it; one that is lost is larger."""
    assert gradients._figure(iter(values)) == text
