"""Laws of the lecture's table: each row is its own system, chosen by validation."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from lmgrid.grid import Cell
from lmgrid.gridfile.reader import read_grid
from lmgrid.plugin.registry import Registry

pytest.importorskip("torch", reason="the grid names neural models")

table = importlib.import_module("lmgrid_benchmarks.lecture_table")
GRID = Path(table.__file__ or "").parent / "lecture-table.toml"


def standing_for(system: Any) -> set[str]:
    """Return the models of the grid that stand for a system."""
    grid = read_grid(GRID, Registry.installed())
    cells = [cell for cell in grid.cells if isinstance(cell, Cell)]
    return {
        cell.model.label
        for cell in cells
        if cell.model.name == system.model
        and all(dict(cell.model.options)[k] == v for k, v in system.options.items())
    }


@pytest.mark.parametrize("system", table.SYSTEMS, ids=lambda system: system.name)
def test_one_model_of_the_grid_stands_for_each_row(system: Any) -> None:
    """No row is without a model, and none has two."""
    assert len(standing_for(system)) == 1


def test_the_published_figures_are_the_lecture_s() -> None:
    """In its order."""
    published = [system.published for system in table.SYSTEMS]
    assert published == [67.6, 51.3, 68.3, 52.9, 43.7, 30.0, 43.9, 39.8]


def test_an_extension_is_another_model_than_what_it_extends() -> None:
    """A comparison of a row with itself would always be a tie."""
    for extended, plain in table.EXTENSIONS:
        assert standing_for(extended).isdisjoint(standing_for(plain))


@pytest.mark.parametrize(
    ("gaps", "verdict"),
    [
        ([-3.0, -3.1, -2.9], "better"),
        ([3.0, 3.1, 2.9], "worse"),
        ([-3.0, 3.1, 0.2], "cannot be told apart"),
        ([-3.0], "one run of each"),
    ],
)
def test_a_verdict_needs_an_interval(gaps: list[float], verdict: str) -> None:
    """Better or worse only where 0 lies outside the 95 % interval over seeds."""
    assert table.verdict(gaps) == verdict
