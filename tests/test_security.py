"""Laws of safety: names are data, no path leaves the results folder, nothing on disk is code."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lmgrid.cli import main
from lmgrid.execution.attempt import attempt
from lmgrid.execution.job import Job
from lmgrid.execution.run import Run
from lmgrid.execution.supervise import deliver
from lmgrid.grid import Cell, Grid, Part
from lmgrid.plugin.registry import Registry
from lmgrid.printable import printable
from lmgrid.records.record import Inputs, Outcome
from lmgrid.records.store import Store
from lmgrid.source.closure import Source

ROOT = Path(__file__).parent.parent
FAULTS = ROOT / "tests" / "faults"
MakeGrid = Callable[..., Grid]
Made = tuple[Job, Outcome, set[Path]]  # the files there are before
NAMES = st.text(max_size=40) | st.sampled_from(["..", "../x", "/etc/x", "a/b", "\x00", "~", "CON"])
ANY_TIME = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@given(NAMES, NAMES, NAMES)
def test_whatever_a_cell_is_called_its_files_are_not(model: str, option: str, value: str) -> None:
    """An address is 32 hexadecimal digits, whatever names, options and sources there are."""
    part = Part(model, ((option, value),))
    cell = Cell(part, part, None, (), None, "cpu", 1, None)
    address = Inputs.of(cell, corpus=value, sources=(Source(option, value),)).address
    assert len(address) == 32
    assert not set(address) - set("0123456789abcdef")
    store = Store("results")
    assert store.model_folder(address).parts == ("results", "models", address)


@ANY_TIME
@given(NAMES)
@example("../../outside")
@example("manifest.json")
def test_files_sent_by_a_worker_stay_in_their_model(made: Made, name: str) -> None:
    """A cluster's worker cannot write beside the folder of the cell that it ran."""
    job, outcome, before = made
    deliver(job, outcome, [(name, b"x")])
    model = Store(job.root).model_folder(job.inputs.address)
    assert {path.parent for path in set(files(job.root.parent)) - before} <= {model}


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def made(make_grid: MakeGrid, registry: Registry, tmp_path: Path) -> Made:
    grid, store = make_grid('[[models]]\nname = "counts"'), Store(tmp_path / "deep" / "results")
    store.create()
    run = Run(grid, store, registry)
    job = run.job(run.planned[0])
    outcome = attempt(job, registry)
    return job, outcome, set(files(job.root.parent))


@given(st.text())
@example("\x1b[31m\x1b]0;title\x07\x9b31m\x90q\u202e")
def test_no_control_character_is_printable(text: str) -> None:
    """Nothing that a terminal obeys is left: no escape, no C1 control, no turned text."""
    shown = printable(text)
    assert not any(ord(c) < 32 and c not in "\n\t" for c in shown)
    assert not any(0x7F <= ord(c) <= 0x9F or 0x202A <= ord(c) <= 0x202E for c in shown)


ESCAPE = "\x1b]0;owned\x07\x1b[2J"


@pytest.mark.parametrize("command", ["run", "plan"])
def test_no_escape_of_a_grid_reaches_the_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Titles, options, errors and labels are shown without their control characters."""
    monkeypatch.syspath_prepend(str(FAULTS))
    monkeypatch.chdir(tmp_path)
    text = msgspec.json.encode(f"a b {ESCAPE} c\n" * 9).decode()
    title = msgspec.json.encode(f"A {ESCAPE} title").decode()
    Path("g.toml").write_text(
        f'title = {title}\n[[corpora]]\nname = "tiny"\ntext = {text}\n'
        '[[models]]\nname = "counts"\nfault = ["", "raise"]'
    )
    result = CliRunner().invoke(
        main, [command, "g.toml", *(["-j", "0"] if command == "run" else [])]
    )
    assert "title" in result.output
    assert "\x1b" not in result.output
    assert "\x07" not in result.output


def test_an_unknown_name_with_an_escape_is_shown_without() -> None:
    """Also in the message of a mistake."""
    result = CliRunner().invoke(main, ["describe", ESCAPE])
    assert result.exit_code == 2
    assert "\x1b" not in result.output


UNPICKLING = {
    "pickle.load",
    "pickle.loads",
    "marshal.loads",
    "torch.load",
    "shelve.open",
    "eval",
    "exec",
}
# What came through a connection of the cluster, which pickles everything itself, is no file.
MEMORY = {"plugins/lmgrid_dask/executor.py": {"pickle.loads"}}


@pytest.mark.parametrize(
    "path",
    sorted([*(ROOT / "harness").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]),
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_nothing_on_disk_is_unpickled(path: Path) -> None:
    """No module calls what would run code from a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    allowed = MEMORY.get(path.relative_to(ROOT).as_posix(), set())
    assert called & UNPICKLING <= allowed
