"""Devices: found by name patterns, one visible to each worker, absent ones refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lmgrid.execution.job import RunOptions
from lmgrid.execution.run import Run, RunListener
from lmgrid.execution.scheduler import Scheduler
from lmgrid.grid import GridError
from lmgrid.gridfile.reader import read_grid
from lmgrid.plugin.registry import Registry
from lmgrid.records.store import Store

Install = Callable[..., None]

DEVICE = """
    from dataclasses import dataclass
    from lmgrid.machine.cpu import Processor
    from lmgrid.spec import DevicePart, hookimpl

    class Quick(Processor):
        def available(self):
            return ("quick:0", "quick:1")

    @dataclass(frozen=True)
    class Mine(DevicePart):
        '''A device.'''

        def make(self):
            return Quick()

    @hookimpl
    def lmgrid_devices():
        return {"PATTERN": Mine}
"""


def test_a_device_is_found_by_its_pattern(install: Install) -> None:
    """``auto`` prefers it to the processor, a bare name is its first, and others are refused."""
    install("quick", DEVICE.replace("PATTERN", "quick*"))
    registry = Registry.installed()
    assert registry.resolve_device("quick") == "quick:0"
    assert registry.resolve_device("quick:1") == "quick:1"
    assert registry.resolve_device("cpu") == "cpu"
    assert "quick:1" in registry.device_names()
    assert registry.device_names()[-1] == "cpu"
    assert type(registry.device("quick:1")).__name__ == "Quick"
    with pytest.raises(GridError, match="'quikc' is not on this machine; did you mean 'quick:"):
        registry.resolve_device("quikc")


SIGHTED = """
    import os
    from dataclasses import dataclass
    from lmgrid.machine.cpu import Processor
    from lmgrid.spec import DevicePart, Kernel, KernelPart, hookimpl

    class Quick(Processor):
        def available(self):
            return ("quick:0", "quick:1")

        def describe(self, device):
            return f"{device} of {os.environ.get('QUICK_VISIBLE', 'all')}"

    @dataclass(frozen=True)
    class Mine(DevicePart):
        '''A device.'''

        def make(self):
            return Quick()

        def confine(self, device):
            os.environ["QUICK_VISIBLE"] = device[-1]
            return "quick:0"

    @dataclass(frozen=True)
    class Where(KernelPart):
        '''Nothing.'''

        devices = ("quick*",)

        def make(self, device):
            return Kernel(lambda: 1, lambda: 1, lambda seed: ())

    @hookimpl
    def lmgrid_devices():
        return {"quick*": Mine}

    @hookimpl
    def lmgrid_kernels():
        return {"where": Where}
"""


@pytest.mark.parametrize(
    ("jobs", "seen"),
    [(1, ["quick:0 of 0", "quick:0 of 1"]), (0, ["quick:0 of all", "quick:1 of all"])],
)
def test_a_worker_sees_the_device_of_its_cell_alone(
    install: Install, tmp_path: Path, jobs: int, seen: list[str]
) -> None:
    """In its own process the device is the first; the cell keeps the name from the grid."""
    install("quick", SIGHTED)
    (tmp_path / "g.toml").write_text(
        'devices = ["quick:0", "quick:1"]\n[[kernels]]\nname = "where"'
    )
    registry = Registry.installed()
    grid, store = read_grid(tmp_path / "g.toml", registry), Store(tmp_path / "results")
    run = Run(grid, store, registry, options=RunOptions(jobs=jobs))
    found = list(Scheduler(run, RunListener()).outcomes())
    assert [planned.cell.device for planned, _ in found] == ["quick:0", "quick:1"]
    assert [o.provenance.environment.accelerator for _, o in found] == seen
    assert "QUICK_VISIBLE" not in os.environ


@pytest.mark.parametrize(
    ("seen", "device", "left"),
    [(None, "cuda:1", "1"), ("2,GPU-5a", "cuda:1", "GPU-5a"), ("3", "cuda:0", "3")],
)
def test_cuda_is_confined_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, seen: str | None, device: str, left: str
) -> None:
    """An index refers to the devices visible before, whatever their names."""
    registry = Registry.installed()
    if seen is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    assert registry.confine(device) == "cuda:0"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == left


@pytest.mark.parametrize(("seen", "count"), [("3,4", 2), ("", 0)])
def test_a_card_that_is_hidden_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, seen: str, count: int
) -> None:
    """A device that the variable hides stays hidden."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    with pytest.raises(ValueError, match=f"CUDA_VISIBLE_DEVICES shows {count} dev"):
        Registry.installed().confine("cuda:2")


def test_a_device_of_another_machine_is_taken_at_its_word(install: Install) -> None:
    """Its name must be one of a kind that is known; which is best there is not."""
    install("quick", DEVICE.replace("PATTERN", "quick*"))
    registry = Registry.installed().remote()
    names = {name: registry.resolve_device(name) for name in ("cpu", "quick", "quick:7", "cuda")}
    assert names == {"cpu": "cpu", "quick": "quick:0", "quick:7": "quick:7", "cuda": "cuda:0"}
    assert registry.resolve_device("mps") == "mps"
    with pytest.raises(GridError, match="unknown device 'quikc'; did you mean 'quick"):
        registry.resolve_device("quikc")
    with pytest.raises(GridError, match="which is best is not known of other machines; name it"):
        registry.resolve_device("auto")


def test_a_device_cannot_take_the_processors_name(install: Install) -> None:
    """A pattern that matches ``cpu`` too leaves the built-in one in its place."""
    install("quick", DEVICE.replace("PATTERN", "c*"))
    assert type(Registry.installed().device("cpu")).__name__ == "Processor"
