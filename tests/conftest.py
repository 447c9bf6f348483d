"""What several tests stand on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lmgrid.grid import Grid
from lmgrid.gridfile import Asked, read_grid
from lmgrid.registry import Registry
from lmgrid.spec import Place

# One thread, set before torch is imported: bits repeat, and a busy machine slows nothing.
os.environ.setdefault("OMP_NUM_THREADS", "1")

FAULTS = Path(__file__).parent / "faults"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The plugins of this environment and the one with faults, which is found like any other."""
    monkeypatch.syspath_prepend(str(FAULTS))
    return Registry.installed()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, tmp_path / "cache")


@pytest.fixture
def make_grid(tmp_path: Path, registry: Registry) -> Callable[..., Grid]:
    """Read a grid from its text; the corpus is there already."""

    def make(text: str, **asked: tuple[str, ...]) -> Grid:
        path = tmp_path / "grid.toml"
        path.write_text(f'[[corpora]]\nname = "tiny"\n{text}')
        return read_grid(path, registry, Asked(**asked))  # type: ignore[arg-type]

    return make
