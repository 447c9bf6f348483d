"""A broken plugin is a row in a table: it never takes the command down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from lmgrid.cli import main
from lmgrid.grid import Cell, GridError, KernelCell, Part, PartError
from lmgrid.plugin.provided import Plugin
from lmgrid.plugin.registry import Registry

HONEST = """
    from dataclasses import dataclass
    from lmgrid.spec import ModelPart, hookimpl

    @dataclass(frozen=True)
    class Mine(ModelPart):
        '''A model.'''

        order: int = 3

        def make(self, context):
            raise AssertionError("never made here")
"""
MODELS = """
    @hookimpl
    def lmgrid_language_models():
        return {"NAME": Mine}
"""
METADATA = "Metadata-Version: 2.1\nName: {}\nVersion: 1.0\n"
Install = Callable[..., None]


def row(name: str) -> Plugin:
    """Return a plugin's row; the built-in ones must be whole beside it."""
    rows = {plugin.name: plugin for plugin in Registry.installed().plugins}
    assert not rows["ngram"].problems
    assert not rows["core"].problems
    return rows[name]


def part(body: str) -> str:
    """Return a plugin that brings an honest model and, beside it, what ``body`` makes."""
    return HONEST + body + MODELS.replace("Mine}", 'Mine, "other": Other}')


# Each plugin below fails in its own way: its code, its status, and a piece of the reason.
BROKEN: dict[str, tuple[str, str, str]] = {
    "import_fails": ("import nowhere_to_be_found", "broken", "fails to import: ModuleNotFound"),
    "syntax_fails": ("def f(:\n", "broken", "fails to import: SyntaxError"),
    "import_exits": ("import sys; sys.exit(3)", "broken", "fails to import: SystemExit: 3"),
    "import_raises": ("raise RuntimeError('a\\n  b')", "broken", "RuntimeError: a b"),
    "hook_raises": (
        HONEST + MODELS.replace("return", "raise KeyError('x')\n        return"),
        "broken",
        "lmgrid_language_models: KeyError: 'x'",
    ),
    "hook_exits": (
        HONEST + MODELS.replace("return", "raise SystemExit(1)\n        return"),
        "broken",
        "lmgrid_language_models: SystemExit: 1",
    ),
    "one_of_two_raises": (
        HONEST + MODELS + "\n    @hookimpl\n    def lmgrid_kernels():\n        return 1 / 0\n",
        "partly broken",
        "lmgrid_kernels: ZeroDivisionError",
    ),
    "misspelt": (
        HONEST + MODELS.replace("language_models", "language_model"),
        "broken",
        "unknown hook 'lmgrid_language_model'",
    ),
    "unmarked": (
        HONEST + MODELS.replace("@hookimpl", ""),
        "broken",
        "lmgrid_language_models is not marked with @hookimpl",
    ),
    "signature": (
        HONEST + MODELS.replace("models()", "models(context)"),
        "broken",
        "Argument(s) {'context'} are declared in the hookimpl but can not be found",
    ),
    "returns_list": (
        HONEST + MODELS.replace('{"NAME": Mine}', "[Mine]"),
        "broken",
        "lmgrid_language_models: PluginError: returned list, not a mapping from name to part",
    ),
    "forgets_return": (
        HONEST + MODELS.replace("return", ""),
        "broken",
        "returned NoneType, not a mapping",
    ),
    "generates": (
        HONEST + MODELS.replace("return", "yield"),
        "broken",
        "returned generator, not a mapping",
    ),
    "not_a_class": (part("    Other = 3\n"), "partly broken", "is not a subclass of lmgrid.spec."),
    "wrong_kind": (
        part("    from lmgrid.machine.cpu import CpuPart as Other\n"),
        "partly broken",
        "model 'other': PluginError: is not a subclass of lmgrid.spec.ModelPart",
    ),
    "abstract": (
        part("    @dataclass(frozen=True)\n    class Other(ModelPart):\n        '''A.'''\n"),
        "partly broken",
        "with all its methods",
    ),
    "not_frozen": (
        part(
            "    @dataclass\n    class Other(ModelPart):\n        '''A.'''\n"
            "        make = Mine.make\n"
        ),
        "partly broken",
        "model 'other': PluginError: is not a frozen dataclass",
    ),
    "no_dataclass": (
        part("    class Other(ModelPart):\n        '''A.'''\n        make = Mine.make\n"),
        "partly broken",
        "is not a frozen dataclass",
    ),
    "decorator_forgotten": (
        part("    class Other(Mine):\n        '''A.'''\n        hidden: int = 3\n"),
        "partly broken",
        "is not a frozen dataclass",
    ),
    "no_docstring": (
        part("    @dataclass(frozen=True)\n    class Other(Mine):\n        hidden: int = 3\n"),
        "partly broken",
        "model 'other': PluginError: has no docstring",
    ),
    "reserved_option": (
        part(
            "    @dataclass(frozen=True)\n    class Other(Mine):\n        '''A.'''\n"
            "        seeds: int = 3\n"
        ),
        "partly broken",
        "has an option named 'seeds', which a grid uses itself",
    ),
    "odd_type": (
        part(
            "    @dataclass(frozen=True)\n    class Other(Mine):\n        '''A.'''\n"
            "        odd: 'Unknown' = 3\n"
        ),
        "partly broken",
        "model 'other': NameError",
    ),
    "odd_requires": (
        part(
            "    @dataclass(frozen=True)\n    class Other(Mine):\n        '''A.'''\n"
            "        requires = 3\n"
        ),
        "partly broken",
        "'requires' is not the name of a module",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_a_row(install: Install, name: str) -> None:
    """Its status and reason say what is wrong and how to be rid of it; the rest goes on."""
    code, status, reason = BROKEN[name]
    install(name, code)
    found = row(name)
    assert (found.distribution, found.version, found.status) == (name, "1.0", status)
    assert reason in found.reason
    assert f"pip uninstall {name}" in found.reason
    assert "\n" not in found.reason
    assert [p.name for p in found.provides] == ([name] if status == "partly broken" else [])


@pytest.mark.parametrize(
    "bad",
    ["../x", "<b>", "\\x1b[31mred", "Upper", "", "a b", "x" * 65, "a.b", "none", "model", "seed"],
)
def test_a_bad_name_is_refused(install: Install, bad: str) -> None:
    """A name goes into files, pages, keys and terminals; the honest part beside it is kept."""
    install("named", HONEST + MODELS.replace('{"NAME"', '{"' + bad + '": Mine, "NAME"'))
    found = row("named")
    assert found.status == "partly broken"
    assert [p.name for p in found.provides] == ["named"]
    assert "\x1b" not in found.reason


def test_an_honest_plugin_is_whole(install: Install) -> None:
    """It is found by its entry point, and its part by its name."""
    install("honest", HONEST + MODELS)
    found = row("honest")
    assert (found.status, found.reason) == ("ok", "")
    made = Registry.installed().part("model", "honest", {"order": 4})
    assert made.label == "honest[order=4]"


def test_a_built_in_wins_a_clash(install: Install) -> None:
    """A third party cannot take over a name that published numbers stand under."""
    install("taker", HONEST + MODELS.replace('"NAME"', '"ngram"'))
    found = row("taker")
    assert found.status == "broken"
    assert "model 'ngram' is claimed by lmgrid too" in found.reason
    assert Registry.installed().find("model", "ngram").distribution == "lmgrid"


def test_two_third_parties_with_one_name_are_both_refused(install: Install) -> None:
    """Each is named to the other, and what else they bring is kept."""
    for name in ("first", "second"):
        install(name, HONEST + MODELS.replace('{"NAME"', '{"same": Mine, "NAME"'))
    for name, other in (("first", "second"), ("second", "first")):
        assert f"model 'same' is claimed by {other} too" in row(name).reason
        assert [p.name for p in row(name).provides] == [name]
    with pytest.raises(PartError, match=r"unknown model 'same'.*claimed by"):
        Registry.installed().find("model", "same")


def test_a_missing_extra_is_told(install: Install) -> None:
    """The part is listed, and whoever asks for it is told what to install."""
    install("needy", HONEST + "        requires = 'nowhere_to_be_found'\n" + MODELS)
    assert row("needy").status == "incomplete"
    assert (
        "needs nowhere_to_be_found: pip install 'needy[nowhere_to_be_found]'" in row("needy").reason
    )
    registry = Registry.installed()
    corpus, model = registry.part("corpus", "kjv", {}), registry.part("model", "needy", {})
    cell = Cell(corpus, model, None, (), None, "cpu", 1, None)
    with pytest.raises(GridError, match="pip install 'needy"):
        registry.check_extras([cell])


def test_a_required_module_that_fails_is_missing(install: Install) -> None:
    """To look for a submodule imports its parent, which may raise."""
    install("needed", "raise RuntimeError('no')")
    install("needy", HONEST + "        requires = 'needed.inner'\n" + MODELS)
    assert row("needy").status == "incomplete"


def test_an_entry_point_is_ours_whoever_repeats_it(site: Path) -> None:
    """A distribution that names our module as its own does not make our parts its own."""
    info = site / "copycat-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA.format("copycat"))
    (info / "entry_points.txt").write_text("[lmgrid]\nngram = lmgrid_ngram\n")
    assert row("ngram").distribution == "lmgrid"


@pytest.mark.parametrize("metadata", ["", "Name: half\n"])
def test_half_removed_metadata_harms_nobody(install: Install, metadata: str) -> None:
    """What an interrupted uninstallation leaves behind has no name or no version."""
    install("half", HONEST + MODELS, metadata)
    assert row("half").status == "ok"


def test_missing_metadata_harms_nobody(install: Install, site: Path) -> None:
    """Nor has a distribution whose METADATA is gone."""
    install("half", HONEST + MODELS)
    (site / "half-1.0.dist-info" / "METADATA").unlink()
    assert row("half").status == "ok"


@pytest.mark.parametrize("content", [b"[lmgrid]\ngarbage\n", b"\xff\xfe"])
def test_damaged_entry_points_are_a_row(install: Install, site: Path, content: bytes) -> None:
    """What importlib cannot read takes nothing down with it."""
    install("damaged", HONEST + MODELS)
    (site / "damaged-1.0.dist-info" / "entry_points.txt").write_bytes(content)
    found = row("damaged")
    assert (found.distribution, found.version, found.status) == ("damaged", "1.0", "broken")
    assert "its entry points cannot be read" in found.reason


def test_what_stands_first_on_the_path_counts(install: Install, tmp_path: Path) -> None:
    """Of two versions of one distribution, the one that is imported is the one that is listed."""
    install("twice", HONEST + MODELS)
    info = tmp_path / "twice-0.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA.format("twice").replace("1.0", "0.9"))
    (info / "entry_points.txt").write_text("[lmgrid]\nolder = twice_older\n")
    sys.path.append(str(tmp_path))
    try:
        assert row("twice").version == "1.0"
        assert "older" not in {plugin.name for plugin in Registry.installed().plugins}
    finally:
        sys.path.remove(str(tmp_path))


@pytest.mark.parametrize("value", ["gone", "honest:gone", "honest:Mine.gone", "not a name", ":"])
def test_an_entry_point_to_nothing_is_a_row(install: Install, site: Path, value: str) -> None:
    """It names a module or an attribute that is not there."""
    install("honest", HONEST + MODELS)
    entries = site / "honest-1.0.dist-info" / "entry_points.txt"
    entries.write_text(f"[lmgrid]\nhonest = {value}\n")
    assert row("honest").status == "broken"


def test_a_listener_that_raises_is_named(install: Install) -> None:
    """A life-cycle hook fails alone; the cell goes on and its plugin is told of."""
    hook = """
    @hookimpl
    def lmgrid_cell_started(address, cell):
        raise OSError('full')
    """
    install("tracker", HONEST + hook)
    cell = KernelCell(Part("sum"), "cpu", 1)
    heard = Registry.installed().call_hook("lmgrid_cell_started", address="a", cell=cell)
    assert [said for said in heard if "tracker" in said and "OSError: full" in said] == list(heard)
    assert heard


# ---------------------------------------------------------------- through the command


def test_plugins_shows_what_is_broken(install: Install) -> None:
    """The table ends with status 0: to look is no failure."""
    install("import_exits", BROKEN["import_exits"][0])
    shown = CliRunner().invoke(main, ["plugins"])
    assert shown.exit_code == 0
    assert "import_exits 1.0" in shown.output
    assert "SystemExit" in shown.output


def test_plugins_as_json(install: Install) -> None:
    """One object a plugin, for a program."""
    install("misspelt", BROKEN["misspelt"][0])
    shown = CliRunner().invoke(main, ["plugins", "--json"])
    found = {plugin["name"]: plugin for plugin in json.loads(shown.output)}
    assert found["misspelt"]["status"] == "broken"
    assert found["misspelt"]["distribution"] == "misspelt"
    assert {"kind": "model", "name": "ngram"} in found["ngram"]["provides"]


def test_check_fails_on_a_broken_plugin_alone(install: Install) -> None:
    """Status 0 where all are whole, a missing extra included, else 1."""
    install("needy", HONEST + "        requires = 'nowhere_to_be_found'\n" + MODELS)
    assert CliRunner().invoke(main, ["plugins", "--check"]).exit_code == 0
    install("misspelt", BROKEN["misspelt"][0])
    assert CliRunner().invoke(main, ["plugins", "--check"]).exit_code == 1


def test_no_escape_reaches_the_terminal(install: Install) -> None:
    """Neither from a name nor from an error's text."""
    install("rude", "raise RuntimeError('\\x1b]0;owned\\x07 [red]')")
    install("named", HONEST + MODELS.replace('"NAME"', '"\\x1b[31mred"'))
    shown = CliRunner().invoke(main, ["plugins"])
    assert "\x1b" not in shown.output
    assert "\x07" not in shown.output
    assert "[red]" in shown.output


@pytest.mark.parametrize("arguments", [["--help"], ["plugins"], ["run", "--help"]])
def test_a_broken_plugin_does_not_take_the_command_down(
    install: Install, site: Path, arguments: list[str]
) -> None:
    """In a process of its own, with a plugin that leaves at its import and one that raises."""
    for name in ("import_exits", "import_fails", "hook_raises"):
        install(name, BROKEN[name][0])
    paths = os.pathsep.join([str(site), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", "from lmgrid.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
