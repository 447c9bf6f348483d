"""A results folder says what was asked of it."""

from __future__ import annotations

from pathlib import Path

from lmgrid.records.history import COMMANDS, GRIDS, Request, keep_request, requests


def test_a_run_is_remembered(tmp_path: Path) -> None:
    """The command line, the bytes of the grid, and where its relative paths count from."""
    root = tmp_path / "results"
    root.mkdir()
    keep_request(root, Request("lmgrid run my.toml", b"seeds = [0]\n", tmp_path))
    (kept,) = requests(root)
    assert (kept.command, kept.folder) == ("lmgrid run my.toml", "..")
    assert (root / GRIDS / kept.grid).read_bytes() == b"seeds = [0]\n"


def test_the_same_again_is_one_line(tmp_path: Path) -> None:
    """What goes on from where it was stopped is one request; another grid or option is another."""
    for command, document in (("a", b"1"), ("a", b"1"), ("a", b"2"), ("b", b"2"), ("a", b"2")):
        keep_request(tmp_path, Request(command, document))
    assert [kept.command for kept in requests(tmp_path)] == ["a", "a", "b", "a"]
    assert len(list((tmp_path / GRIDS).iterdir())) == 2


def test_torn_lines_are_passed_over(tmp_path: Path) -> None:
    """A run that was killed while it wrote leaves the others readable."""
    keep_request(tmp_path, Request("a"))
    with (tmp_path / COMMANDS).open("ab") as file:
        file.write(b'{"command": "b", "gr\n')
    keep_request(tmp_path, Request("c"))
    assert [kept.command for kept in requests(tmp_path)] == ["a", "c"]
    assert requests(tmp_path / "nowhere") == ()
