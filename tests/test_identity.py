"""What decides a cell's numbers: the bytes of every file that an option of any part names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lmgrid.grid import Cell, GridError, KernelCell
from lmgrid.gridfile.reader import read_grid
from lmgrid.plugin.registry import Registry
from lmgrid.records.address import InputsReader, text_key
from lmgrid.spec import Place

PLUGIN = """
from dataclasses import dataclass
from pathlib import Path
from lmgrid.spec import CorpusPart, Kernel, KernelPart, ModelPart, RegularizerPart, hookimpl

@dataclass(frozen=True)
class Model(ModelPart):
    '''Names files.'''
    by_gradient = True
    devices = ("cpu",)
    weights: Path | None = None
    tables: tuple[Path, ...] = ()
    def make(self, context):
        raise NotImplementedError

@dataclass(frozen=True)
class Penalty(RegularizerPart):
    '''Names a file.'''
    mask: Path = Path("mask.bin")
    def make(self, context):
        raise NotImplementedError

@dataclass(frozen=True)
class Text(CorpusPart):
    '''Names a file that its digest does not read.'''
    words: Path = Path("words.txt")
    fold: bool = False
    def digest(self, place):
        return "alike"
    def make(self, place):
        raise NotImplementedError

@dataclass(frozen=True)
class Pair(KernelPart):
    '''Names a file.'''
    data: Path = Path("data.bin")
    def make(self, device):
        raise NotImplementedError

@hookimpl
def lmgrid_language_models(): return {"named": Model}
@hookimpl
def lmgrid_regularizers(): return {"masked": Penalty}
@hookimpl
def lmgrid_corpora(): return {"listed": Text}
@hookimpl
def lmgrid_kernels(): return {"pair": Pair}
"""
GRID = """
optimizers = ["sgd"]
regularizers = [["masked"]]
budget = { epochs = 1 }
seeds = [0]
[[corpora]]
name = "listed"
[[models]]
name = "named"
weights = "weights.bin"
tables = [["one.bin", "two.bin"]]
[[kernels]]
name = "pair"
"""
FILES = ("weights.bin", "one.bin", "two.bin", "mask.bin", "words.txt", "data.bin")


@pytest.fixture
def project(tmp_path: Path, install: Callable[..., None]) -> Path:
    """A folder with a grid and the files that its parts name."""
    pytest.importorskip("torch", reason="its optimizer is torch's")
    install("acme_named", PLUGIN)
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "my.toml").write_text(GRID)
    for name in FILES:
        (folder / name).write_bytes(name.encode())
    return folder


def addresses(folder: Path) -> list[str]:
    registry = Registry.installed()
    grid = read_grid(folder / "my.toml", registry)
    reader = InputsReader(registry, Place(folder, folder / "cache"))
    return [reader.inputs(cell).address for cell in grid.cells]


@pytest.mark.parametrize("name", FILES)
def test_other_bytes_are_another_address(project: Path, name: str) -> None:
    """Of a model, several files of one option, a regularizer, a corpus, a kernel."""
    before = addresses(project)
    assert addresses(project) == before
    (project / name).write_bytes(b"other")
    after = addresses(project)
    moved = [i for i, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    assert moved == [int(name == "data.bin")]


def test_a_file_s_name_is_no_edit(project: Path) -> None:
    """The order of several files is one."""
    before = addresses(project)
    (project / "weights.bin").rename(project / "moved.bin")
    text = (project / "my.toml").read_text()
    (project / "my.toml").write_text(text.replace("weights.bin", "moved.bin"))
    assert addresses(project) == before
    (project / "my.toml").write_text(text.replace('"one.bin", "two.bin"', '"two.bin", "one.bin"'))
    (project / "moved.bin").rename(project / "weights.bin")
    assert addresses(project)[0] != before[0]


def test_a_folder_counts_by_its_files(project: Path) -> None:
    """By their names in it and their bytes."""
    (project / "weights.bin").unlink()
    (project / "weights.bin").mkdir()
    (project / "weights.bin" / "a").write_bytes(b"a")
    before = addresses(project)
    (project / "weights.bin" / "b").write_bytes(b"b")
    assert addresses(project)[0] != before[0]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_a_mistake_in_the_grid(project: Path, name: str) -> None:
    """It is named with its part and option before anything is run."""
    (project / name).unlink()
    with pytest.raises(GridError, match=rf"no file or folder {name} in .*project"):
        addresses(project)


def test_a_part_is_made_with_whole_paths(project: Path) -> None:
    """They count from the grid's folder, wherever the command is typed."""
    registry = Registry.installed()
    grid = read_grid(project / "my.toml", registry)
    placed = registry.relative_to(project)
    model = placed.model(grid.cells[0].model)  # type: ignore[union-attr]
    assert model.weights == project / "weights.bin"  # type: ignore[attr-defined]
    assert model.tables == (project / "one.bin", project / "two.bin")  # type: ignore[attr-defined]
    named = registry.model(grid.cells[0].model)  # type: ignore[union-attr]
    assert named.weights == Path("weights.bin")  # type: ignore[attr-defined]


# ---------------------------------------------------------------- what a corpus is encoded by


def keys(folder: Path) -> list[str]:
    registry = Registry.installed()
    grid = read_grid(folder / "my.toml", registry)
    reader = InputsReader(registry, Place(folder, folder / "cache"))
    return [text_key(reader.inputs(cell)) for cell in grid.cells if isinstance(cell, Cell)]


def test_what_decides_the_ids_is_another_encoding(project: Path) -> None:
    """A file that the digest does not read, and a corpus's option; not a file's name or a model."""
    before = keys(project)
    (project / "words.txt").write_bytes(b"other")
    other = keys(project)
    assert other != before
    (project / "words.txt").rename(project / "moved.txt")
    text = (project / "my.toml").read_text()
    named = text.replace('name = "listed"', 'name = "listed"\nwords = "moved.txt"')
    (project / "my.toml").write_text(named.replace('weights = "weights.bin"\n', ""))
    assert keys(project) == other
    (project / "my.toml").write_text(named.replace("moved.txt", 'moved.txt"\nfold = true #'))
    assert keys(project) != other


def test_a_device_of_others_is_part_of_the_address(registry: Registry) -> None:
    """Its provider computes; the processor is nobody's code."""
    place = Place(Path(), Path("cache"))
    cell = KernelCell(registry.part("kernel", "sum", {}), "cpu", 1)
    here = InputsReader(registry, place).inputs(cell)
    there = InputsReader(registry, place).inputs(replace(cell, device="mps"))
    names = [{source.name for source in found.sources} for found in (here, there)]
    assert names == [{"kernel sum", "runner"}, {"kernel sum", "runner", "device mps"}]
