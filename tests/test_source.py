"""An edited plugin never answers with its old numbers: digests of the source that decides them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

from lmgrid import source
from lmgrid.source import sources

CACHES = (source._closure, source._imports, source._files, source._digest)
Write = Callable[[str, str], None]
PART = "class Part:\n    pass\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write modules below a folder on the path, as a fresh process would find them."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def put(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        forget(before)

    yield put
    forget(before)


def forget(before: set[str]) -> None:
    for name in set(sys.modules) - before:
        del sys.modules[name]
    for cached in CACHES:
        cached.cache_clear()


def digests(module: str) -> dict[str, str]:
    """Return the digests of a part that a module defines, by package."""
    return {s.name: s.digest for s in sources([import_module(module).Part])}


def test_the_rooms_that_decide_a_number_always_count(write: Write) -> None:
    """Text, runner, training, score, kernel and clock, beside the part's own package."""
    write("mine/__init__.py", PART)
    assert set(digests("mine")) == {"mine"} | {f"lmgrid.{room}" for room in source.ROOMS}
    assert all(len(digest) == 32 for digest in digests("mine").values())


@pytest.mark.parametrize("edited", ["mine/__init__.py", "mine/deep/inner.py", "mine/new.py"])
def test_an_edit_anywhere_in_the_package_shows(write: Write, edited: str) -> None:
    """Also in a module that the part does not import, and in one that is new."""
    write("mine/__init__.py", PART)
    write("mine/deep/inner.py", "x = 1\n")
    before = digests("mine")
    write(edited, PART + "y = 2\n")
    after = digests("mine")
    assert {name for name in before if before[name] != after[name]} == {"mine"}


def test_renaming_a_module_shows(write: Write, tmp_path: Path) -> None:
    """Its name counts with its text."""
    write("mine/__init__.py", PART)
    write("mine/one.py", "x = 1\n")
    before = digests("mine")
    (tmp_path / "mine" / "one.py").rename(tmp_path / "mine" / "two.py")
    write("other.py", "")
    assert digests("mine") != before


def test_line_ends_are_no_edit(write: Write) -> None:
    """A checkout's setting changes no address."""
    write("mine/__init__.py", PART)
    before = digests("mine")
    write("mine/__init__.py", PART.replace("\n", "\r\n"))
    assert digests("mine") == before


@pytest.mark.parametrize(
    "text",
    [
        "import lmgrid_first\n",
        "import lmgrid_first.deep as deep\n",
        "from lmgrid_first import deep\n",
        "def late():\n    from lmgrid_first.deep import x\n",
    ],
)
def test_packages_of_ours_count_with_what_imports_them(write: Write, text: str) -> None:
    """And what those import, to the end; a circle ends too."""
    write("mine/__init__.py", PART)
    write("mine/inner.py", text)
    write("lmgrid_first/__init__.py", "from . import deep\n")
    write("lmgrid_first/deep.py", "import lmgrid_second\nx = 1\n")
    write("lmgrid_second/__init__.py", "import lmgrid_first\n")
    found = digests("mine")
    assert {"lmgrid_first", "lmgrid_second"} <= set(found)
    write("lmgrid_second/__init__.py", "import lmgrid_first\ny = 1\n")
    assert digests("mine")["lmgrid_second"] != found["lmgrid_second"]


def test_other_libraries_do_not_count(write: Write) -> None:
    """They are in the record's environment."""
    write("mine/__init__.py", "import json, other\n" + PART)
    write("other.py", "")
    assert {"json", "other"}.isdisjoint(digests("mine"))


def test_a_module_alone_is_a_package_too(write: Write) -> None:
    """What stands beside it in its folder is not its own."""
    write("alone.py", PART)
    write("neighbour.py", "x = 1\n")
    before = digests("alone")
    write("neighbour.py", "x = 2\n")
    assert digests("alone") == before
    write("alone.py", PART + "x = 1\n")
    assert digests("alone") != before


def test_a_package_without_init_counts(write: Write) -> None:
    """A namespace package's modules decide numbers like any other's."""
    write("spaced/inner.py", PART)
    before = digests("spaced.inner")
    write("spaced/inner.py", PART + "x = 1\n")
    assert digests("spaced.inner") != before


def test_the_order_of_parts_does_not_matter(write: Write) -> None:
    """Sources are sorted by name, each once."""
    write("one.py", PART)
    write("two.py", PART)
    parts = [import_module(name).Part for name in ("one", "two")]
    assert sources(parts) == sources([*reversed(parts), *parts])
