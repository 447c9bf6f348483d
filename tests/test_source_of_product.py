"""In a copy of the product: which edits make other addresses, and which do not."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from copied import DATA, PUBLISHED, Copied

from lmgrid.plugin.registry import Registry
from lmgrid.records.address import KERNEL_RUNNER, MODEL_RUNNER
from lmgrid.source.closure import sources

PLUGIN = """
from dataclasses import dataclass
from typing import Any
import third_helper
from lmgrid.spec import ModelPart, hookimpl

@dataclass(frozen=True)
class Third(ModelPart):
    "A model."
    def make(self, context: Any) -> Any:
        import fourth_plugin.deep
        return third_helper.help, fourth_plugin.deep.value

@hookimpl
def lmgrid_language_models() -> dict[str, Any]:
    return {"third": Third}
"""


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copied]:
    copied = Copied(tmp_path_factory.mktemp("site"))
    copied.write("third_plugin/__init__.py", PLUGIN)
    copied.write("third_plugin/second.py", "x = 1\n")
    copied.write("third_plugin/table.csv", "1\n")
    copied.write("third_helper.py", "help = 1\n")
    copied.install("third", ["third_plugin", "third_helper"], "[lmgrid]\nthird = third_plugin\n")
    copied.write("fourth_plugin/__init__.py", "")
    copied.write("fourth_plugin/deep.py", "value = 1\n")
    copied.write("fourth_plugin/other.py", "value = 1\n")
    copied.install("fourth", ["fourth_plugin"], "[lmgrid]\nfourth = fourth_plugin\n")
    copied.write("library.py", "value = 1\n")
    copied.start()
    yield copied
    copied.close()


@pytest.fixture(scope="module")
def before(product: Copied) -> dict[str, str]:
    found = product.digests()
    assert {"model rnn", "model third", "corpus kjv", MODEL_RUNNER, KERNEL_RUNNER} <= set(found)
    return found


def changed(product: Copied, before: dict[str, str]) -> set[str]:
    after = product.digests()
    assert set(after) == set(before)
    return {name for name in before if after[name] != before[name]}


# The third party's plugin stands beside the product's, and imports the contract.
@pytest.mark.parametrize(
    ("file", "old", "new", "felt"),
    [
        ("third_plugin/second.py", "1", "2", {"model third"}),
        ("third_plugin/table.csv", "1", "2", {"model third"}),
        ("third_helper.py", "1", "2", {"model third"}),
        ("fourth_plugin/deep.py", "1", "2", {"model third"}),
        ("fourth_plugin/other.py", "1", "2", {"model third"}),
        ("library.py", "1", "2", set()),
        ("third_plugin/second.py", "x = 1", "x: int = (1)  # one", set()),
    ],
)
def test_a_plugin_counts_whole(
    product: Copied, before: dict[str, str], file: str, old: str, new: str, felt: set[str]
) -> None:
    """With all files of its distribution and of other plugins that it imports."""
    with product.edited(file, old, new):
        assert changed(product, before) == felt


@pytest.mark.parametrize(
    ("file", "felt", "inactive_options"),
    [
        (
            "lmgrid_torch/training/trainer.py",
            {"model rnn", "model window"},
            {"model ngram", MODEL_RUNNER},
        ),
        ("lmgrid/cell/score.py", {MODEL_RUNNER}, {"model rnn", KERNEL_RUNNER}),
        (
            "lmgrid_ngram/smoothing/estimators.py",
            {"model ngram"},
            {"model rnn", "corpus kjv", MODEL_RUNNER},
        ),
        ("lmgrid_text/kjv.py", {"corpus kjv"}, {"corpus brown", "model rnn"}),
    ],
)
def test_what_computes_a_number_counts_where_it_is_used(
    product: Copied, before: dict[str, str], file: str, felt: set[str], inactive_options: set[str]
) -> None:
    """The trainer, the scorer, a smoothing, a corpus; late imports are followed."""
    with product.edited(file, '"""\n', '"""\nADDED = 1\n'):
        found = changed(product, before)
    assert felt <= found
    assert not inactive_options & found


@pytest.mark.parametrize(
    "file",
    [
        "lmgrid/report/export.py",
        "lmgrid/report/tables.py",
        "lmgrid/commands/tables.py",
        "lmgrid/__init__.py",
    ],
)
def test_what_shows_numbers_does_not_count(
    product: Copied, before: dict[str, str], file: str
) -> None:
    """Tables, their files, the command line."""
    with product.edited(file, '"""\n\n', '"""\n\nADDED = 1\n'):
        assert changed(product, before) == set()


class Reworder(ast.NodeTransformer):
    """Adds a word to every docstring."""

    def visit(self, node: ast.AST) -> ast.AST:
        self.generic_visit(node)
        text = node.value if isinstance(node, ast.Expr) else None
        if isinstance(text, ast.Constant) and isinstance(text.value, str):
            text.value += " Indeed."
        return node


def reword(file: Path) -> None:
    """Write a file anew: another layout, a comment, longer docstrings."""
    tree = Reworder().visit(ast.parse(file.read_bytes()))
    file.write_text(f"# Written anew.\r\n\n{ast.unparse(tree)}\n", encoding="utf-8")


def rename(product: Copied, old: str, new: str) -> None:
    """Give a module another name and place, also where it is imported."""
    to = product.folder / f"{new.replace('.', '/')}.py"
    to.parent.mkdir()
    (to.parent / "__init__.py").write_text('"""One package more."""\n')
    (product.folder / f"{old.replace('.', '/')}.py").rename(to)
    for file in product.folder.glob("lmgrid*/**/*.py"):
        text = file.read_text("utf-8")
        text = text.replace(f"from {old} ", f"from {new} ").replace(f'"{old}"', f'"{new}"')
        file.write_text(text, encoding="utf-8")


@pytest.fixture(scope="class")
def reworded(product: Copied, before: dict[str, str]) -> Iterator[Copied]:
    """Every file is written anew, and the trainer's loop has another name and place."""
    with product.restored():
        for file in product.folder.glob("lmgrid*/**/*.py"):
            reword(file)
        rename(product, "lmgrid_torch.training.loop", "lmgrid_torch.by_gradient.stepping")
        assert "lmgrid_torch.by_gradient.stepping" in product.read("lmgrid_torch/model.py")
        yield product


class TestReworded:
    """What is no part of the meaning of code: wording, layout, names and places of files."""

    def test_no_source_is_another(self, reworded: Copied, before: dict[str, str]) -> None:
        """Every part and runner has the digest that it had."""
        assert changed(reworded, before) == set()

    def test_every_published_record_is_current(self, reworded: Copied) -> None:
        """Each grid has 0 cells to run; corpora that are not at hand are left out and counted."""
        left = reworded.left_to_run(PUBLISHED)
        unknown = {name: why for name, why in left.items() if not why.isdigit()}
        known = {name: count for name, count in left.items() if name not in unknown}
        assert known == dict.fromkeys(known, "0")
        assert set(unknown) <= (set() if DATA.is_dir() else {"five-minutes"})
        if unknown:
            pytest.skip(f"{len(unknown)} of {len(PUBLISHED)} grids: {unknown}")


def test_where_the_product_is_installed_does_not_count(before: dict[str, str]) -> None:
    """A copy on the path has the sources of what runs these tests."""
    plugins = Registry.installed().plugins
    parts = [(f"{p.kind} {p.name}", p.part) for plugin in plugins for p in plugin.provides]
    known = [(name, part) for name, part in parts if name in before and "third" not in name]
    found = {one.name: one.digest for one in sources(known, MODEL_RUNNER)}
    assert {"model rnn", "corpus kjv", "device cpu"} <= set(found)
    assert found.pop("runner") == before[MODEL_RUNNER]
    assert found == {name: before[name] for name, _ in known}
