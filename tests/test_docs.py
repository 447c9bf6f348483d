"""Laws of the documents: what they show works as it stands."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from lmgrid.cli import main
from lmgrid.gridfile.reader import read_grid
from lmgrid.plugin.discovery import inspect_plugin
from lmgrid.plugin.registry import Registry
from lmgrid.records.record import Failure
from lmgrid.records.store import Store
from lmgrid.testing import LanguageModelContract

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(document: Path, language: str) -> list[str]:
    """Return a document's code blocks of a language."""
    text = document.read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_setting_up_takes_two_lines() -> None:
    """Under ``Set up`` stand exactly two blocks for a shell, of one line each."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Set up")[1]
    lines = re.findall(r"```sh\n(.*?)```", section.split("\n## ")[0], flags=re.DOTALL)
    assert [line.count("\n") for line in lines] == [1, 1]


GRIDS = [(path.name, i) for path in DOCUMENTS for i in range(len(blocks(path, "toml")))]


@pytest.mark.parametrize(("name", "index"), GRIDS)
def test_a_grid_that_is_shown_can_be_read(name: str, index: int, tmp_path: Path) -> None:
    """Every grid in the documents is valid with the plugins that come with lmgrid."""
    pytest.importorskip("torch", reason="the grids name neural models")
    (path,) = (path for path in DOCUMENTS if path.name == name)
    text = blocks(path, "toml")[index]
    if "corpora" not in tomllib.loads(text) or "unigram" in text:
        pytest.skip("a part of a grid")
    (tmp_path / "grid.toml").write_text(text)
    assert read_grid(tmp_path / "grid.toml", Registry.installed()).cells


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The plugin of docs/plugins.md, as a module."""
    source = next(b for b in blocks(ROOT / "docs/plugins.md", "python") if "hookimpl" in b)
    folder = tmp_path_factory.mktemp("acme")
    (folder / "acme_lm.py").write_text(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        return importlib.import_module("acme_lm")


def test_the_example_plugin_is_sound(example: ModuleType) -> None:
    """The registry finds its model and no problem."""
    provides, problems = inspect_plugin(example, "acme-lm")
    assert problems == ()
    assert [(p.kind, p.name) for p in provides] == [("model", "unigram")]


def test_the_example_model_keeps_the_laws(example: ModuleType) -> None:
    """It passes what its own page tells an author to inherit."""
    case = type("Case", (LanguageModelContract,), {"part": example.UnigramPart(prior=0.5)})()
    case.test_probabilities_sum_to_one(12, 3)
    case.test_never_looks_ahead(12)
    case.test_a_prefix_scores_the_same(12)
    case.test_a_seed_repeats_bitwise(12)


def test_every_command_that_is_shown_exists() -> None:
    """``lmgrid COMMAND`` in a document is a command."""
    shown = {
        word
        for path in DOCUMENTS
        for word in re.findall(r"(?:^    |`)lmgrid ([a-z]+)", path.read_text("utf-8"), re.MULTILINE)
    }
    assert shown
    assert shown <= set(main.commands)


def test_links_lead_somewhere() -> None:
    """Every relative link names a file of the project."""
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.toml")), ids=lambda p: p.stem)
def test_an_installed_grid_can_be_read(path: Path) -> None:
    """Every grid that comes with lmgrid is valid, and says what it is."""
    pytest.importorskip("torch", reason="the grids name neural models")
    grid = read_grid(path, Registry.installed())
    assert grid.title
    assert grid.cells


def test_the_documents_show_what_is_published() -> None:
    """Their tables are what the records in results/published give, to the letter."""
    documents = importlib.import_module("lmgrid_benchmarks.documents")
    shown = documents.read_documents(ROOT)
    assert shown == documents.filled(shown, documents.blocks(ROOT / documents.PUBLISHED))


def test_a_block_goes_between_its_marks_alone() -> None:
    """In whichever document they stand; what it holds is text, and no place for it is an error."""
    documents = importlib.import_module("lmgrid_benchmarks.documents")
    one, two = Path("one.md"), Path("two.md")
    texts = {one: "a\n", two: "b\n<!-- t -->\nold\n<!-- /t -->\nc\n"}
    made = documents.filled(texts, {"t": "\\1 new\n"})
    assert made == {one: "a\n", two: "b\n<!-- t -->\n\\1 new\n<!-- /t -->\nc\n"}
    with pytest.raises(SystemExit, match="<!-- u -->"):
        documents.filled(texts, {"u": ""})


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("quickstart", 20),
        ("five-minutes", 15),
        ("lecture-table", 24),
        ("gradients", 20),
        ("adaptive", 4),
    ],
)
def test_published_records_are_whole(name: str, cells: int) -> None:
    """What a number in the README rests on is there, unaltered, and every cell is done."""
    store = Store(ROOT / "results/published" / name)
    assert list(store.verify()) == []
    assert store.count() >= cells
    assert not any(isinstance(outcome, Failure) for outcome in store)
