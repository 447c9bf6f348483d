"""A results folder says what was asked of it."""

from __future__ import annotations

from pathlib import Path

from lmgrid.records.history import COMMANDS, GRIDS, Invocation, read_history, record_invocation


def test_a_run_is_remembered(tmp_path: Path) -> None:
    """The command line, the bytes of the grid, and where its relative paths count from."""
    root = tmp_path / "results"
    root.mkdir()
    record_invocation(root, Invocation("lmgrid run my.toml", b"seeds = [0]\n", tmp_path))
    (kept,) = read_history(root)
    assert (kept.command, kept.folder) == ("lmgrid run my.toml", "..")
    assert (root / GRIDS / kept.grid).read_bytes() == b"seeds = [0]\n"


def test_the_same_again_is_one_line(tmp_path: Path) -> None:
    """What goes on from where it was stopped is one request; another grid or option is another."""
    for command, document in (("a", b"1"), ("a", b"1"), ("a", b"2"), ("b", b"2"), ("a", b"2")):
        record_invocation(tmp_path, Invocation(command, document))
    assert [kept.command for kept in read_history(tmp_path)] == ["a", "a", "b", "a"]
    assert len(list((tmp_path / GRIDS).iterdir())) == 2


def test_torn_lines_are_passed_over(tmp_path: Path) -> None:
    """A run that was killed while it wrote leaves the others readable."""
    record_invocation(tmp_path, Invocation("a"))
    with (tmp_path / COMMANDS).open("ab") as file:
        file.write(b'{"command": "b", "gr\n')
    record_invocation(tmp_path, Invocation("c"))
    assert [kept.command for kept in read_history(tmp_path)] == ["a", "c"]
    assert read_history(tmp_path / "nowhere") == ()
