"""Laws of checkpoints: whole or not there, and a run that goes on from one ends the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lmgrid.callbacks import Callbacks
from lmgrid.cell.cell_runner import CellRunner
from lmgrid.cell.checkpoint import Checkpoints
from lmgrid.cell.runner import Workspace
from lmgrid.cell.training import Checkpoint, RunnerState
from lmgrid.grid import Grid
from lmgrid.plugin.registry import Registry
from lmgrid.records.record import Record
from lmgrid.result import Point
from lmgrid.spec import Place, State

MakeGrid = Callable[..., Grid]
POINT = Point(100, 1.5, 1.25, 2.0, 0.0, 3.0, (("clip", 2),))
RUNNER = RunnerState((POINT,), POINT, 0.5, 1)


def weights(folder: Path, content: bytes = b"best") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "weights").write_bytes(content)
    return folder


def fresh(folder: Path) -> Path:
    folder.mkdir()
    return folder


NUMBERS = arrays.arrays(
    st.sampled_from(["float32", "float64", "int64", "uint8"]),
    arrays.array_shapes(min_dims=0, max_dims=3, max_side=4),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@settings(max_examples=25)  # each waits for the disk
@given(st.dictionaries(st.text(min_size=1), NUMBERS, max_size=3), VALUES)
def test_what_was_saved_is_what_is_loaded(
    tmp_path_factory: pytest.TempPathFactory, named: dict[str, np.ndarray], value: object
) -> None:
    """Arrays to the last bit, with their shapes and types; plain values; the runner's state."""
    folder = tmp_path_factory.mktemp("checkpoint")
    checkpoints = Checkpoints(folder / "cell")
    if "__metadata__" in named:  # a name that the file's format keeps for itself
        return
    model = State(named, {"value": value})
    checkpoints.save(Checkpoint(RUNNER, model), weights(folder / "best"))
    found = checkpoints.load(fresh(folder / "again"))
    assert found is not None
    assert found.runner == RUNNER
    assert found.model.values == {"value": value}
    assert {k: (a.shape, a.dtype, a.tobytes()) for k, a in found.model.arrays.items()} == {
        k: (a.shape, a.dtype, a.tobytes()) for k, a in named.items()
    }
    assert (folder / "again/weights").read_bytes() == b"best"


def saved(folder: Path) -> Checkpoints:
    checkpoints = Checkpoints(folder / "cell")
    state = State({"w": np.arange(100, dtype=np.float32)}, {"epoch": 1})
    checkpoints.save(Checkpoint(RUNNER, state), weights(folder / "best"))
    return checkpoints


def test_only_the_last_one_is_kept(tmp_path: Path) -> None:
    """Older states go; the best weights stay as long as they are the best."""
    checkpoints = saved(tmp_path)
    later = replace(POINT, tokens=200)
    runner = RunnerState((POINT, later), POINT, 0.5, 1)
    checkpoints.save(Checkpoint(runner, State({"w": np.zeros(1)}, {})), tmp_path / "best")
    names = sorted(path.name for path in (tmp_path / "cell").iterdir())
    assert names == ["best-100", "checkpoint.msgpack", "state-200"]


@pytest.mark.parametrize("name", ["checkpoint.msgpack", "state-100", "best-100/weights"])
@pytest.mark.parametrize("harm", ["truncate", "flip", "remove"])
def test_a_damaged_one_is_none(tmp_path: Path, name: str, harm: str) -> None:
    """A file cut short, with one flipped bit or gone: the cell begins anew, with true numbers."""
    checkpoints, path = saved(tmp_path), tmp_path / "cell" / name
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[len(data) // 2] ^= 1
    if harm == "remove":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if harm == "truncate" else data)
    found = checkpoints.load(fresh(tmp_path / "again"))
    assert found is None
    assert list((tmp_path / "again").iterdir()) == []
    assert not (tmp_path / "cell").exists()  # nothing of it is taken for good later


@pytest.mark.parametrize("best", ["../best", "/tmp", "best-100/.."])
def test_a_name_that_leads_elsewhere_is_not_followed(tmp_path: Path, best: str) -> None:
    """Whoever can write an index cannot have another folder's files read."""
    checkpoints, path = saved(tmp_path), tmp_path / "cell/checkpoint.msgpack"
    index = msgspec.msgpack.decode(path.read_bytes().partition(b"\n")[2])
    body = msgspec.msgpack.encode(index | {"best": best, "hashes": {}})
    path.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    assert checkpoints.load(fresh(tmp_path / "again")) is None
    assert list((tmp_path / "again").iterdir()) == []


def test_there_may_be_none(tmp_path: Path) -> None:
    """A cell that never reached a point has nothing to go on from."""
    assert Checkpoints(tmp_path / "none").load(fresh(tmp_path / "again")) is None


class Stop(Exception):
    """Ends a run as a kill would, but for the process."""


@contextmanager
def stopping_at(number: int) -> Iterator[Callable[[Point], None]]:
    """Give a listener that ends the run at the point of that number."""
    seen: list[Point] = []

    def on_point(point: Point) -> None:
        seen.append(point)
        if len(seen) == number:
            raise Stop

    with pytest.raises(Stop):
        yield on_point


STATEFUL = """
[[models]]
name = "rnn"
embedding = 16
hidden = 16
batch = 4
output = "sampled"
budget = { epochs = 4 }
optimizers = ["adam"]
regularizers = [["dropout", "clip"]]
reporters = ["gradients"]
"""


@pytest.mark.parametrize("stops", [(1,), (3,), (2, 1)])
def test_a_stopped_network_with_stateful_parts_ends_as_an_undisturbed_one(
    make_grid: MakeGrid, registry: Registry, tmp_path: Path, stops: tuple[int, ...]
) -> None:
    """Masks of dropout, sampled words and readings of gradients, through files on disk."""
    pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")
    assert_ends_the_same(make_grid(STATEFUL), CellRunner(registry, place(tmp_path)), stops)


@pytest.mark.parametrize("stops", [(1,), (3,), (4,), (2, 1)])
def test_a_stopped_run_ends_as_an_undisturbed_one(
    make_grid: MakeGrid, registry: Registry, tmp_path: Path, stops: tuple[int, ...]
) -> None:
    """Stopped at any point, twice too, it goes on from there to the same numbers, times apart."""
    grid = make_grid('[[models]]\nname = "counts"\nsteps = 4\nbest = 1\nresumes = true')
    assert_ends_the_same(grid, CellRunner(registry, place(tmp_path)), stops)


def place(folder: Path) -> Place:
    return Place(folder, folder / "cache")


def assert_ends_the_same(grid: Grid, runner: CellRunner, stops: tuple[int, ...]) -> None:
    """Assert that a cell stopped at points of these numbers has the numbers of an undisturbed one.

    Each number counts from the point at which the cell was resumed.
    """
    cell = grid.cells[0]
    whole = runner.run(cell)
    kept = Workspace(checkpoints=Checkpoints(runner.place.folder / "cell"))
    for number in stops:
        with stopping_at(number) as on_point:
            runner.run(cell, replace(kept, callbacks=Callbacks(point=on_point)))
    resumed = runner.run(cell, kept)
    assert isinstance(whole, Record)
    assert isinstance(resumed, Record)
    assert resumed.resumed == len(stops)
    assert timeless(resumed) == timeless(whole)


def timeless(record: Record) -> object:
    """Return the numbers of a record, times apart."""
    points = [replace(point, seconds=0.0, cpu_seconds=0.0) for point in record.points]
    training = record.training
    return points, record.valid, record.test, training.kept, training.kept_tokens, training.tokens
