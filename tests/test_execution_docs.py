"""The example of docs/execution.md is a plugin that works."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from lmgrid.execution.job import RunOptions
from lmgrid.execution.run import Run, RunListener
from lmgrid.execution.scheduler import Scheduler
from lmgrid.grid import Grid
from lmgrid.plugin.discovery import inspect_plugin
from lmgrid.plugin.registry import Registry
from lmgrid.records.record import Failure
from lmgrid.records.store import Store

TEXT = (Path(__file__).parent.parent / "docs" / "execution.md").read_text(encoding="utf-8")


@pytest.fixture
def lmgrid_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    found = re.search(r"<!-- ray -->\n```python\n(.*?)```\n<!-- /ray -->", TEXT, re.DOTALL)
    assert found
    (tmp_path / "lmgrid_ray.py").write_text(found[1])
    monkeypatch.syspath_prepend(str(tmp_path))
    return importlib.reload(importlib.import_module("lmgrid_ray"))


def test_the_example_keeps_the_contract(lmgrid_ray: ModuleType) -> None:
    """It is inspected as any plugin is, without Ray."""
    provides, problems = inspect_plugin(lmgrid_ray, "acme")
    assert [(p.kind, p.name) for p in provides] == [("executor", "ray")]
    assert problems == ()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_example_runs_cells(
    lmgrid_ray: ModuleType,
    make_grid: Callable[..., Grid],
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where Ray is installed, its tasks run cells; one that dies, or its workers, is a status."""
    pytest.importorskip("ray", reason="needs ray")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    store = Store(tmp_path / "results")
    grid = make_grid('[[models]]\nname = "counts"\nfault = ["kill", "orphan", ""]')
    ray = lmgrid_ray.RayPart()
    run = Run(grid, store, registry, executor=ray, options=RunOptions(jobs=1))
    found = [outcome for _, outcome in Scheduler(run, RunListener()).outcomes()]
    ends = [o.error if isinstance(o, Failure) else "done" for o in found]
    assert sorted(ends) == ["SIGKILL", "done", "the workers that ran it died, 3 times"]
