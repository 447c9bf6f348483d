"""Imports go one way, as docs/architecture.md says."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

from lmgrid import hooks
from lmgrid.records.address import KERNEL_RUNNER, MODEL_RUNNER
from lmgrid.source.closure import modules

ROOT = Path(__file__).parent.parent
CORE, PLUGINS = ROOT / "harness" / "lmgrid", ROOT / "plugins"
PLUGIN_FILES = sorted(PLUGINS.rglob("*.py"))
CORE_FILES = sorted(CORE.rglob("*.py"))
FOLDERS = sorted({*CORE.glob("*/__init__.py"), *PLUGINS.glob("*/*/__init__.py")})
HEAVY = ("torch", "numpy", "pandas", "scipy", "matplotlib")
CHECK_HEAVY = f"assert not {{*{HEAVY!r}}} & {{*sys.modules}}, {{*{HEAVY!r}}} & {{*sys.modules}}"


class Import(NamedTuple):
    """One name that a module imports; ``typing`` if only a type checker sees it."""

    name: str
    typing: bool


@cache
def imports(path: Path) -> tuple[Import, ...]:
    return tuple(_walk(ast.parse(path.read_text(encoding="utf-8")), typing=False))


def _walk(node: ast.AST, typing: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, typing) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert not child.level, "relative imports hide what is imported"
            names = (alias.name for alias in child.names)
            yield Import(str(child.module), typing)
            yield from (Import(f"{child.module}.{name}", typing) for name in names)
        only_typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        yield from _walk(child, typing or only_typing)


@cache
def core() -> dict[str, Path]:
    """Return the modules of the core by their dotted names inside it, without folders."""
    found = {path.relative_to(CORE): path for path in CORE_FILES if path.stem != "__init__"}
    return {".".join(name.with_suffix("").parts): path for name, path in found.items()}


@cache
def floors() -> dict[str, int]:
    """Return the line of each module in the table of docs/architecture.md."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (`[^|]+) \|", text, re.MULTILINE)
    return {
        name if folder == "lmgrid" else f"{folder}.{name}": i
        for i, (folder, names) in enumerate(rows)
        for name in re.findall(r"`([^`]+)`", names)
    }


def folder_of(name: str) -> str:
    return name.rpartition(".")[0]


def needs(path: Path) -> set[str]:
    """Return the core's modules that one imports when it runs, at the top or inside a function."""
    names = {i.name for i in imports(path) if i.name.startswith("lmgrid.") and not i.typing}
    return {name.removeprefix("lmgrid.") for name in names} & set(core())


def folders_needed(package: Path) -> dict[str, set[str]]:
    """Return what each folder of a plugin imports of its other folders when it runs."""
    folders = {path.parent.name for path in package.glob("*/*.py")}
    graph: dict[str, set[str]] = {folder: set() for folder in folders}
    for path in package.glob("*/*.py"):
        names = (i.name.split(".") for i in imports(path) if not i.typing)
        inside = {name[1] for name in names if name[0] == package.name and len(name) > 1}
        graph[path.parent.name] |= inside & folders - {path.parent.name}
    return graph


def package_of(path: Path) -> str:
    return path.relative_to(PLUGINS).with_suffix("").parts[0]


def offers_parts(path: Path) -> bool:
    """Whether a module of a plugin may import parts: the plugin itself, or one of parts."""
    return path.stem in {"__init__", "parts"} or path.stem.endswith("_parts")


# The modules of what the parts of these plugins make.
MADE_BY_VALUES = [
    path
    for name in ("rnn", "snm", "torch", "transformer", "window")
    for path in sorted((PLUGINS / f"lmgrid_{name}").rglob("*.py"))
    if not offers_parts(path)
]

# What may decide a cell's numbers beside its parts: an edit of these moves addresses.
RUNS_A_CELL = {
    "budget", "callbacks", "cell.kernel", "cell.paired_timing", "cell.runner", "cell.score",
    "cell.training", "errors", "machine.clock", "result", "seeds", "spec", "text", "vocabulary",
}  # fmt: skip


def name_path(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_walk_sees_every_import(tmp_path: Path) -> None:
    """At the top, in a function, by name or by module; what only a type checker sees is marked."""
    path = tmp_path / "module.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import torch\n"
        "def late():\n    from lmgrid import cli\n    import lmgrid.records.store as s\n"
        "    from lmgrid.machine import cpu, clock\n    from lmgrid.cell.score import measure\n"
    )
    assert needs(path) == {"cli", "records.store", "machine.cpu", "machine.clock", "cell.score"}
    assert [found.name for found in imports(path) if found.typing] == ["torch"]


def test_every_module_is_on_the_plan() -> None:
    """The table names each module of the core, and none that is not there."""
    assert set(core()) == set(floors())


def test_every_folder_has_one_line() -> None:
    """So that imports go one way between folders."""
    lines = {(folder_of(name), floor) for name, floor in floors().items() if folder_of(name)}
    assert len({folder for folder, _ in lines}) == len(lines)


@pytest.mark.parametrize("name", sorted(core()))
def test_a_module_imports_no_later_one(name: str) -> None:
    """A module imports from its own line of the table or from one above it."""
    floor = floors()[name]
    assert {other for other in needs(core()[name]) if floors()[other] > floor} == set()


def test_modules_import_in_no_circle() -> None:
    """Not even inside one folder."""
    TopologicalSorter({name: needs(path) for name, path in core().items()}).prepare()


@pytest.mark.parametrize("package", sorted(PLUGINS.glob("lmgrid_*")), ids=name_path)
def test_a_plugins_folders_import_in_no_circle(package: Path) -> None:
    """Beside what stands in none of them."""
    TopologicalSorter(folders_needed(package)).prepare()


@pytest.mark.parametrize("path", FOLDERS, ids=name_path)
def test_a_folder_is_only_said_what_it_is_for(path: Path) -> None:
    """Nothing is imported because one of its modules is."""
    assert [type(node) for node in ast.parse(path.read_text("utf-8")).body] == [ast.Expr]


def test_every_package_and_module_is_installed() -> None:
    """setup.cfg lists all packages, and each plugin that is one module."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = config["options"]["package_dir"].split("\n")
    pairs = (line.partition("=") for line in lines if line)
    folders = {top.strip(): folder.strip() for top, _, folder in pairs}
    found = {
        ".".join((*([top] if top else []), *path.parent.relative_to(ROOT / folder).parts))
        for top, folder in folders.items()
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert set(config["options"]["packages"].split()) == found
    modules = {path.stem for path in PLUGINS.glob("*.py")}
    assert set(config["options"]["py_modules"].split()) == modules


@pytest.mark.parametrize("runner", [MODEL_RUNNER, KERNEL_RUNNER])
def test_what_runs_a_cell_knows_no_plugin_store_or_table(runner: str) -> None:
    """Its parts are handed in; else an edit of a table would move every address."""
    assert {name.removeprefix("lmgrid.") for name in modules(runner)} <= RUNS_A_CELL


@pytest.mark.parametrize("path", CORE_FILES, ids=name_path)
def test_the_core_imports_no_torch_and_no_plugin(path: Path) -> None:
    """What the core needs of a plugin comes through the registry."""
    names = {found.name.split(".")[0] for found in imports(path) if not found.typing}
    assert {name for name in names if name == "torch" or name.startswith("lmgrid_")} == set()


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=name_path)
def test_a_plugin_imports_no_other_plugin(path: Path) -> None:
    """Only the one for torch is shared, as it would be by a third party's plugin."""
    names = {found.name.split(".")[0] for found in imports(path)}
    ours = {name for name in names if name.startswith("lmgrid_")}
    assert ours <= {package_of(path), "lmgrid_torch"}


@pytest.mark.parametrize("path", MADE_BY_VALUES, ids=name_path)
def test_what_a_part_makes_needs_no_part(path: Path) -> None:
    """A part's make passes values, so only a type checker reads the part from what it makes."""
    modules = (i.name.split(".") for i in imports(path) if not i.typing)
    of_parts = {name for names in modules for name in names if offers_parts(Path(f"{name}.py"))}
    assert of_parts == set()


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=name_path)
def test_a_plugin_imports_what_is_meant_for_it(path: Path) -> None:
    """Of the core it sees the contract, the grid's nouns, the text, and what runs a cell."""
    names = {i.name.removeprefix("lmgrid.") for i in imports(path)}
    assert names & set(core()) <= {
        "spec", "engine", "grid", "text", "vocabulary", "checksum", "zipf", "testing", "errors",
        "records.store", "records.record", "execution.attempt", "execution.job",
        "execution.messages", "execution.worker", "execution.supervise", "execution.executors",
    }  # fmt: skip


@pytest.mark.parametrize("path", [*CORE_FILES, *PLUGIN_FILES], ids=name_path)
def test_no_module_is_named_for_nothing(path: Path) -> None:
    """A module is named for what is in it."""
    assert path.stem not in {"utils", "util", "helpers", "helper", "common", "base", "misc"}


@pytest.mark.parametrize("path", [*CORE_FILES, *PLUGIN_FILES], ids=name_path)
def test_a_module_opens_with_a_sentence(path: Path) -> None:
    """It says what it is before it does anything."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring
    assert docstring.split("\n\n")[0].rstrip().endswith((".", ":", "?"))


@pytest.mark.parametrize(
    "code",
    [
        "import lmgrid",
        "from lmgrid.cli import main; main(['--help'], standalone_mode=False)",
        "from lmgrid.cli import main; main(['run', '--help'], standalone_mode=False)",
        "from lmgrid.cli import main; main(['describe', '--schema'], standalone_mode=False)",
        "import lmgrid.plugin.registry; lmgrid.plugin.registry.Registry.installed()",
    ],
)
def test_nothing_heavy_is_imported_early(code: str) -> None:
    """To ask for help, or what plugins there are, needs no array and no network."""
    code = f"import sys; sys.path[:0] = {sys.path!r}; {code}; {CHECK_HEAVY}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("hook", sorted(n for n in vars(hooks) if n.startswith("lmgrid_")))
def test_every_hook_is_documented(hook: str) -> None:
    """A plugin's author finds each hook in docs/plugins.md."""
    assert f"`{hook}`" in (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
