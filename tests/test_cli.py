"""Laws of the command line: what a user types, what he reads, and the exit status."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import make_dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import click
import pytest
from click.testing import CliRunner, Result
from msgspec import Meta

from lmgrid.cli import main
from lmgrid.plugin.provided import Plugin, ProvidedPart
from lmgrid.plugin.registry import Registry
from lmgrid.spec import AnyPart

ROOT = Path(__file__).parent.parent
FAULTS = ROOT / "tests" / "faults"
GRID = """
title = "A tiny grid"
[[corpora]]
name = "tiny"
[[models]]
name = "counts"
prior = [1.0, 2.0]
[[kernels]]
name = "sum"
"""

Invoke = Callable[..., Result]


@pytest.fixture
def lmgrid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Invoke:
    """Type a command in an empty folder where the plugin with faults is installed."""
    monkeypatch.syspath_prepend(str(FAULTS))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LMGRID_CACHE", str(tmp_path / "cache"))

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(main, list(arguments))

    return invoke


@pytest.fixture
def grid(tmp_path: Path) -> str:
    path = tmp_path / "tiny.toml"
    path.write_text(GRID)
    return path.name


def test_run_shows_a_table_and_keeps_it(lmgrid: Invoke, grid: str, tmp_path: Path) -> None:
    """A run prints perplexities and speedups, and writes every table in every format."""
    result = lmgrid("run", grid)
    assert result.exit_code == 0, result.output
    assert "counts[prior=2]" in result.stdout
    assert "sum" in result.stdout
    written = {path.name for path in (tmp_path / "results/runs/tiny/tables").iterdir()}
    names = ("overview", "perplexity", "time", "sizes", "speedup")
    assert written == {f"{name}.{end}" for name in names for end in ("md", "csv", "tex")}


def test_a_second_run_runs_nothing_and_says_so(lmgrid: Invoke, grid: str) -> None:
    """What is recorded is shown again, to the byte."""
    first, second = lmgrid("run", grid), lmgrid("run", grid)
    assert "3 recorded" in second.stderr
    assert "0 to run" in second.stderr
    assert second.stdout == first.stdout


def test_an_override_makes_other_cells(lmgrid: Invoke, grid: str) -> None:
    """--set and --only change what is run; the results folder is shared."""
    lmgrid("run", grid)
    result = lmgrid("run", grid, "--set", "counts.prior=3.0", "--only", "model=counts", "-q")
    assert result.exit_code == 0, result.output
    assert "counts[prior=3]" in result.stdout
    assert "prior=2" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "quickstrat"), "did you mean 'quickstart'"),
        (("run", "nowhere.toml"), "nowhere.toml: there is no such file"),
        (("run", "tiny.toml", "--set", "counts.prio=1"), "did you mean 'prior'"),
        (("run", "tiny.toml", "--only", "model=count"), "did you mean 'counts'"),
        (("run", "tiny.toml", "--device", "cuda:7"), "not on this machine"),
        (("run", "tiny.toml", "-j", "4000"), "at most -j"),
        (("run", "tiny.toml", "--results", "tiny.toml/x"), "cannot keep results here"),
        (("plan", "tiny.toml", "--set", "nonsense"), "expected KEY=VALUE"),
        (("tables", "empty"), "no results here"),
        (("verify", "empty"), "no results here"),
        (("describe", "ngrm"), "did you mean 'ngram'"),
        (("describe",), "name a part, as in lmgrid describe rnn"),
        (("describe", "ngram", "--schema"), "leave out NAME"),
        (("kernels", "sun"), "did you mean 'sum'"),
        (("generate", "abc"), "no record"),
        (("generate", "../../etc/passwd.json"), "there is no such file"),
        (("generate", "abc", "--temperature", "nan"), "not a finite number"),
        (("predict", "abc", "--context", "x"), "no record"),
    ],
)
def test_a_mistake_is_one_message_and_status_2(
    lmgrid: Invoke, grid: str, arguments: tuple[str, ...], message: str
) -> None:
    """What was asked wrongly is said in one line that names it; nothing is run."""
    result = lmgrid(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not Path("results").exists()


def test_a_failed_cell_gives_status_1_and_its_reason(lmgrid: Invoke, tmp_path: Path) -> None:
    """The table names the cell that ended otherwise; the rest is done; no escape gets through."""
    (tmp_path / "g.toml").write_text(
        '[[corpora]]\nname = "tiny"\n[[models]]\nname = "counts"\nfault = ["raise", ""]'
    )
    result = lmgrid("run", "g.toml")
    assert result.exit_code == 1
    assert "RuntimeError: raised on purpose" in result.stdout
    assert "counts" in result.stdout
    assert "\x1b" not in result.output


def test_an_unequal_kernel_gives_status_1(lmgrid: Invoke, tmp_path: Path) -> None:
    """A pair that disagrees is an end otherwise, with no speedup."""
    (tmp_path / "g.toml").write_text('[[kernels]]\nname = "sum"\nwrong = true')
    result = lmgrid("run", "g.toml")
    assert result.exit_code == 1
    assert "no: the two forms differ by 1" in result.stdout


def test_rows_are_csv_with_the_promised_columns(lmgrid: Invoke, grid: str) -> None:
    """``tables --rows`` prints one row a record, for a program."""
    lmgrid("run", grid)
    result = lmgrid("tables", "results/runs/tiny", "--rows")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(rows) == 3
    promised = (
        "address status corpus model optimizer regularizers seed device test_perplexity "
        "valid_perplexity train_seconds train_tokens_per_second score_tokens_per_second "
        "parameters bytes"
    )
    assert set(promised.split()) <= set(rows[0])
    assert sorted(row["model"] for row in rows) == ["", "counts", "counts[prior=2]"]


@pytest.mark.parametrize(
    ("form", "mark"), [("markdown", "| --- |"), ("csv", "model,seeds"), ("latex", r"\toprule")]
)
def test_each_format_is_written(lmgrid: Invoke, grid: str, form: str, mark: str) -> None:
    """Tables come as markdown, CSV and LaTeX."""
    lmgrid("run", grid)
    assert mark in lmgrid("tables", "results/runs/tiny", "--format", form).stdout


@pytest.mark.parametrize("sheet", ["rows", "points", "readings"])
def test_rows_are_written_where_they_are_wanted(lmgrid: Invoke, grid: str, sheet: str) -> None:
    """With ``--output`` a sheet goes to a file of its name, as it would be printed."""
    lmgrid("run", grid, "-q")
    printed = lmgrid("tables", "results/runs/tiny", f"--{sheet}").stdout
    result = lmgrid("tables", "results/runs/tiny", f"--{sheet}", "--output", "out/put")
    assert result.exit_code == 0, result.output
    assert f"{sheet}.csv" in result.stdout
    assert [path.name for path in Path("out/put").iterdir()] == [f"{sheet}.csv"]
    assert Path("out/put", f"{sheet}.csv").read_text() == printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rows", "--points"), "two sheets"),
        (("--points", "--readings", "--format", "parquet"), "two sheets"),
        (("--json", "--format", "parquet"), "--json prints JSON"),
        (("--json", "--output", "out"), "--json prints JSON"),
        (("--rows", "--format", "latex"), "csv or parquet"),
    ],
)
def test_forms_that_exclude_each_other_are_a_mistake(
    lmgrid: Invoke, arguments: tuple[str, ...], message: str
) -> None:
    """Nothing that was asked for is left out in silence."""
    result = lmgrid("tables", "results/runs/tiny", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr


def test_json_is_json(lmgrid: Invoke, grid: str) -> None:
    """What a program reads can be parsed."""
    lmgrid("run", grid)
    assert len(json.loads(lmgrid("run", grid, "--json", "-q").stdout)) == 3
    assert len(json.loads(lmgrid("tables", "results/runs/tiny", "--json").stdout)) == 3
    assert len(json.loads(lmgrid("plan", grid, "--json").stdout)["cells"]) == 3
    assert json.loads(lmgrid("describe", "counts", "--json").stdout)[0]["kind"] == "model"
    assert json.loads(lmgrid("doctor", "--json").stdout)["cores"] >= 1


def test_plan_shows_state_reason_and_estimate(lmgrid: Invoke, tmp_path: Path) -> None:
    """What is recorded, what is excluded and why; an estimate once a like record is there."""
    (tmp_path / "g.toml").write_text(
        GRID + '[[exclude]]\n"counts.prior" = 2.0\nbecause = "too large"\n'
    )
    before = lmgrid("plan", "g.toml").stdout
    assert "excluded: too large" in before
    assert "no estimate" in before
    lmgrid("run", "g.toml", "--only", "model=counts")
    assert "about" in lmgrid("plan", "g.toml", "--set", "counts.prior=3.0").stdout
    assert "no estimate" in lmgrid("plan", "g.toml", "--set", "tiny.text='a b c'").stdout
    again = lmgrid("plan", "g.toml").stdout
    assert "1 recorded" in again


def test_describe_names_options_types_and_defaults(lmgrid: Invoke) -> None:
    """Every option stands there as one would write it in a grid."""
    shown = lmgrid("describe", "counts").stdout
    assert "prior" in shown
    assert "number" in shown
    assert "raise | kill" in shown


def test_describe_shows_what_each_option_means(
    lmgrid: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The description of an option's annotation stands in its row, and no line is too long."""
    hidden = Annotated[int, Meta(ge=1, description="Units of each recurrent layer. " * 4)]
    part = make_dataclass("Described", [("hidden", hidden, 200)], bases=(AnyPart,))
    plugin = Plugin("mine", "mine", "1", (ProvidedPart("model", "described", part, "mine"),))
    monkeypatch.setattr(Registry, "installed", lambda: Registry([plugin]))
    shown = lmgrid("describe", "described").stdout
    assert "Units of each" in shown
    assert "integer ≥ 1" in shown
    assert max(map(len, shown.splitlines())) <= 80
    option = json.loads(lmgrid("describe", "described", "--json").stdout)[0]["options"][0]
    assert option["description"].startswith("Units of each recurrent layer.")


def test_describe_prints_the_schema_of_grid_files(lmgrid: Invoke) -> None:
    """It has the parts of every installed plugin, that of a third party among them."""
    schema = json.loads(lmgrid("describe", "--schema").stdout)
    assert {"model.ngram", "model.counts"} <= {*schema["$defs"]}


def test_describe_tells_of_what_has_no_options(lmgrid: Invoke) -> None:
    """An executor and a device are parts like any other."""
    for name, told in (("local", "in a process of its own"), ("cpu", "The processor.")):
        shown = lmgrid("describe", name).stdout
        assert told in shown
        assert "It has no options." in shown


def test_describe_tells_of_options_that_are_taken_over(lmgrid: Invoke) -> None:
    """What every neural model may be told is told with each; a list of values is a type."""
    shown = lmgrid("describe", "window").stdout
    assert "How the distribution" in shown
    assert "(integer ≥ 1, …)" in shown


def test_kernels_run_by_name(lmgrid: Invoke) -> None:
    """One command proves a pair equal and times it."""
    result = lmgrid("kernels", "sum", "-q")
    assert result.exit_code == 0, result.output
    assert "×" in result.stdout


def test_a_stored_model_generates_and_predicts(lmgrid: Invoke, grid: str) -> None:
    """Text from a record's own weights, the same for the same seed; the corpus is not needed."""
    lmgrid("run", grid)
    address = json.loads(lmgrid("plan", grid, "--json").stdout)["cells"][0]["address"]
    one, two = (lmgrid("generate", address[:8], "--length", "12", "--seed", "3") for _ in "ab")
    assert one.exit_code == 0, one.output
    assert one.stdout == two.stdout
    assert len(one.stdout.split()) >= 6
    other = lmgrid("generate", address[:8], "--length", "12", "--seed", "4")
    assert other.stdout != one.stdout
    guesses = lmgrid("predict", address[:8], "--context", "the students", "--json", "--top", "8")
    found = json.loads(guesses.stdout)
    assert sum(guess["probability"] for guess in found) == pytest.approx(1)
    by_file = f"results/runs/tiny/records/{address}.json"
    assert lmgrid("generate", by_file, "--temperature", "0", "--length", "2").exit_code == 0


def test_discarded_models_are_said_to_be(lmgrid: Invoke, grid: str) -> None:
    """Without weights, generate says how to get them."""
    lmgrid("run", grid, "--discard-models")
    address = json.loads(lmgrid("plan", grid, "--json").stdout)["cells"][0]["address"]
    result = lmgrid("generate", address)
    assert result.exit_code == 2
    assert "--discard-models" in result.stderr


def test_verify_names_what_is_damaged(lmgrid: Invoke, grid: str, tmp_path: Path) -> None:
    """Status 0 and a count for a sound folder; 1 and the file for a torn one."""
    lmgrid("run", grid)
    assert lmgrid("verify", "results/runs/tiny").exit_code == 0
    path = next((tmp_path / "results/runs/tiny/records").iterdir())
    path.write_bytes(path.read_bytes()[:-9])
    result = lmgrid("verify", "results/runs/tiny")
    assert result.exit_code == 1
    assert path.name in result.stdout
    tables = lmgrid("tables", "results/runs/tiny", "--rows")
    assert path.name in tables.stderr
    assert len(tables.stdout.splitlines()) == 1 + 2  # the others are shown


def test_doctor_tells_what_a_report_needs(lmgrid: Invoke) -> None:
    """Versions, machine, devices, plugins."""
    shown = lmgrid("doctor").stdout
    words = ("lmgrid", "python", "processor", "cores", "plugin faults")
    assert all(word in shown for word in words)


def shown_help(lmgrid: Invoke, *arguments: str) -> str:
    """Return the help text of a command on a terminal of 80 columns."""
    result = lmgrid(*arguments, "--help")
    assert result.exit_code == 0
    return result.stdout


def test_the_help_lists_each_command_in_one_line(lmgrid: Invoke) -> None:
    """The purpose of each is short enough to be shown in full."""
    shown = shown_help(lmgrid)
    assert "..." not in shown.partition("Commands:")[2]
    for name, command in main.commands.items():
        assert f"  {name} " in shown
        assert str(command.help).split("\n\n")[0].endswith(".")


@pytest.mark.parametrize("name", ["", *main.commands])
def test_an_example_of_a_help_text_is_a_valid_command(lmgrid: Invoke, name: str) -> None:
    """Every help text has examples that parse, and fits 80 columns."""
    shown = shown_help(lmgrid, *filter(None, [name]))
    assert max(map(len, shown.splitlines())) <= 80
    block = shown.partition("  Examples:\n")[2].partition("\n\n")[0]
    assert block
    for line in block.splitlines():
        program, command, *arguments = shlex.split(re.split("  +| > ", line.strip())[0])
        assert program == "lmgrid"
        if arguments != ["--help"]:
            assert main.commands[command].make_context(command, arguments)


@pytest.mark.parametrize("name", [*main.commands])
def test_every_option_is_explained(name: str) -> None:
    """Each option of each command has a sentence of help."""
    options = [p for p in main.commands[name].params if isinstance(p, click.Option)]
    assert [option.name for option in options if not str(option.help).endswith(".")] == []


# ---------------------------------------------------------------- the real command


def _start(arguments: list[str], folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(FAULTS), "LMGRID_CACHE": str(folder / "cache")}
    return subprocess.Popen(
        [sys.executable, "-c", "from lmgrid.cli import main; main()", *arguments],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


SLOW_GRID = """
[[corpora]]
name = "tiny"
[[models]]
name = "counts"
pause = 2.0
prior = [1.0, 2.0, 3.0, 4.0]
"""


def test_a_second_interrupt_ends_a_cell_of_this_process(tmp_path: Path) -> None:
    """With -j 0 too; nothing of the cell is stored, and its lock and its drafts are gone."""
    text = SLOW_GRID.replace("pause = 2.0", 'fault = "sleep"')
    (tmp_path / "g.toml").write_text(text)
    process = _start(["run", "g.toml", "-j", "0"], tmp_path)
    results = tmp_path / "results/runs/g"
    while process.poll() is None and not list(results.glob("drafts/*")):
        time.sleep(0.05)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert time.monotonic() - started < 30, "the cell of sixty seconds was waited for"
    assert process.returncode == 130, told
    assert "the same command continues from here" in told
    assert "Traceback" not in told
    assert not list(results.glob("drafts/*"))
    assert not list(results.glob("failures/*"))


def test_strict_refuses_a_broken_plugin(lmgrid: Invoke, grid: str, tmp_path: Path) -> None:
    """By default a broken plugin is told and the run goes on; --strict ends with status 2."""
    site = tmp_path / "site"
    info = site / "broken-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lmgrid]\nbroken = no_such_module\n")
    sys.path.insert(0, str(site))
    try:
        loose, strict = lmgrid("run", grid, "-q"), lmgrid("run", grid, "--strict")
    finally:
        sys.path.remove(str(site))
    assert loose.exit_code == 0, loose.output
    assert "no_such_module" in loose.stderr
    assert strict.exit_code == 2


def test_a_part_of_a_grid_leaves_the_tables_whole(lmgrid: Invoke, grid: str) -> None:
    """DIR/tables holds what the folder holds, not what the last command chose."""
    lmgrid("run", grid)
    lmgrid("run", grid, "--only", "model=counts", "--only", "counts.prior=1.0")
    written = Path("results/runs/tiny/tables/overview.md").read_text()
    assert "prior=2" in written
    assert Path("results/runs/tiny/tables/speedup.md").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_an_output_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    """A full disk behind standard output ends with status 1 and no traceback."""
    environment = {**os.environ, "LMGRID_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", "from lmgrid.cli import main; main()", "plugins"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False
        )
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_grids_lists_those_that_come_with_lmgrid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each says what it shows, how long it takes, and whether its texts are here."""
    monkeypatch.delenv("LMGRID_DATA", raising=False)
    result = CliRunner().invoke(main, ["grids", "--json"])
    assert result.exit_code == 0, result.output
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert set(rows) == {path.stem for path in (ROOT / "benchmarks").glob("*.toml")}
    assert all(row["title"] and row["takes"] and int(row["cells"]) for row in rows.values())
    assert rows["quickstart"]["corpora"] == "kjv"
    assert "brown (not here)" in rows["five-minutes"]["corpora"]
    needy = {name for name, row in rows.items() if "lmgrid[torch]" in row["needs"]}
    assert needy == (set() if find_spec("torch") else set(rows) - {"sparsity"})
    shown = CliRunner().invoke(main, ["grids"]).output
    assert all(name in shown for name in rows)
