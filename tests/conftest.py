"""What several tests stand on."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from crash_harness import FAULTS, CrashHarness

from lmgrid.grid import Grid
from lmgrid.gridfile.reader import Overrides, read_grid
from lmgrid.plugin.registry import Registry
from lmgrid.spec import Place

# One thread, set before torch is imported: bits repeat, and a busy machine slows nothing.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The plugins of this environment and the one with faults, which is found like any other."""
    monkeypatch.syspath_prepend(str(FAULTS))
    return Registry.installed()


METADATA = "Metadata-Version: 2.1\nName: {}\nVersion: 1.0\n"
Install = Callable[..., None]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, behind those of the environment."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return folder


@pytest.fixture
def install(site: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a distribution of one module, as pip would leave it."""

    def write(name: str, code: str, metadata: str = METADATA) -> None:
        (site / f"{name}.py").write_text(dedent(code).replace("NAME", name), encoding="utf-8")
        info = site / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(metadata.format(name), encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[lmgrid]\n{name} = {name}\n")
        monkeypatch.delitem(sys.modules, name, raising=False)

    return write


@pytest.fixture
def crash_harness(tmp_path: Path) -> CrashHarness:
    return CrashHarness(tmp_path)


CheckSlopes = Callable[[Callable[[], Any], Sequence[Any]], None]


@pytest.fixture
def check_slopes() -> CheckSlopes:
    """Hold torch's gradient of a loss against finite differences, number by number."""

    def check(loss: Callable[[], Any], weights: Sequence[Any]) -> None:
        import torch

        slopes = torch.autograd.grad(loss(), list(weights))
        step = 1e-6
        for weight, slope in zip(weights, slopes, strict=True):
            flat = weight.detach().view(-1)
            for i in range(len(flat)):
                kept = float(flat[i])
                flat[i] = kept + step
                above = loss().item()
                flat[i] = kept - step
                below = loss().item()
                flat[i] = kept
                expected = pytest.approx((above - below) / (2 * step), abs=1e-8)
                assert float(slope.flatten()[i]) == expected

    return check


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, tmp_path / "cache")


@pytest.fixture
def make_grid(tmp_path: Path, registry: Registry) -> Callable[..., Grid]:
    """Read a grid from its text; the corpus is there already."""

    def make(text: str, **asked: tuple[str, ...]) -> Grid:
        path = tmp_path / "grid.toml"
        path.write_text(f'[[corpora]]\nname = "tiny"\n{text}')
        return read_grid(path, registry, Overrides(**asked))  # type: ignore[arg-type]

    return make
