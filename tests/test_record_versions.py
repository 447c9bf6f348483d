"""Records of other versions of lmgrid: older ones are read, newer ones told, none is guessed at."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from test_replay import record_of

from lmgrid.cli import main
from lmgrid.records.conversion import STEPS, unknown_field
from lmgrid.records.record import NewerRecordError, Record, RecordError
from lmgrid.records.recordfile import SCHEMA, decode_outcome, encode_outcome
from lmgrid.records.store import Store
from lmgrid.report.frame import frame
from lmgrid.report.tables import overview

DATA = Path(__file__).parent / "data"
OLDER = tuple(sorted(DATA.glob("records-*/records/*.json")))  # records-N: as schema N was written
Change = Callable[[dict[str, Any]], None]


def rewritten(data: bytes, change: Change, *, honest: bool = True) -> bytes:
    """Return a record's file with a change; an honest one has the hash of what it says."""
    envelope = json.loads(data)
    change(envelope)
    body = json.dumps(envelope["body"], separators=(",", ":")).encode()
    if honest:
        told = f"{envelope['kind']} {envelope['schema']}\n".encode() + body
        envelope["sha256"] = hashlib.sha256(told).hexdigest()
    head = {key: value for key, value in envelope.items() if key != "body"}
    return json.dumps(head, separators=(",", ":")).encode()[:-1] + b',"body":' + body + b"}"


def later_schema(envelope: dict[str, Any]) -> None:
    envelope["schema"] = SCHEMA + 1


def longer_budget(envelope: dict[str, Any]) -> None:
    envelope["body"]["inputs"]["cell"]["budget"] = {"epochs": 1.0, "joules": 7.0}


def better_score(envelope: dict[str, Any]) -> None:
    envelope["body"]["test"]["nats"] = 1.0


KINDS: dict[str, tuple[Change, bool, str]] = {
    "schema above": (later_schema, True, f"newer lmgrid (it has schema {SCHEMA + 1}"),
    "unknown field": (longer_budget, True, "newer lmgrid (it has the field 'inputs.cell.budget.jo"),
    "wrong hash": (better_score, False, "is altered: it does not have the sha256"),
}


@pytest.mark.parametrize(("change", "honest", "said"), KINDS.values(), ids=KINDS)
def test_each_has_its_own_words(change: Change, honest: bool, said: str) -> None:
    """Above our schema, a field that we do not know, a hash that is not the content's."""
    record = record_of(3.0, 2.0)
    data = rewritten(encode_outcome(record), change, honest=honest)
    with pytest.raises(RecordError) as raised:
        decode_outcome(data, record.inputs.address)
    assert said in str(raised.value)
    assert isinstance(raised.value, NewerRecordError) == ("newer" in said)


def test_a_rewritten_record_is_the_same_one() -> None:
    """What the other tests change is the only thing that they change."""
    record = record_of(3.0, 2.0)
    assert rewritten(encode_outcome(record), lambda envelope: None) == encode_outcome(record)
    assert decode_outcome(encode_outcome(record), record.inputs.address) == record


@pytest.mark.parametrize("path", OLDER, ids=lambda p: f"{p.parts[-3]}-{p.stem[:8]}")
def test_an_older_record_is_converted(path: Path) -> None:
    """It keeps its address, its numbers and its machine; what it does not say stays unsaid."""
    outcome = decode_outcome(path.read_bytes(), path.stem)
    body = json.loads(path.read_bytes())["body"]
    environment = body["circumstances"]["environment"]
    assert outcome.inputs.address == path.stem
    assert outcome.inputs.rule == body["inputs"].get("rule", 1)
    assert outcome.provenance.started == body["circumstances"]["started"]
    assert outcome.provenance.environment.processor == environment["processor"]
    assert outcome.provenance.environment.flags == environment.get("flags", "")
    if isinstance(outcome, Record):
        assert outcome.test.nats == body["test"]["nats"]
        assert [p.valid_nats for p in outcome.points] == [p["valid_nats"] for p in body["points"]]


def test_an_older_record_is_held_against_its_hash_and_address() -> None:
    """Converting comes after trusting."""
    path = OLDER[0]
    data = path.read_bytes()
    with pytest.raises(RecordError, match="altered"):
        decode_outcome(data.replace(b'"jobs":1', b'"jobs":2'), path.stem)
    with pytest.raises(RecordError, match="wrong place"):
        decode_outcome(data, "0" * 32)


def test_every_older_schema_has_a_step() -> None:
    """A converter stays for as long as there are records."""
    assert sorted(STEPS) == list(range(1, SCHEMA))
    assert {json.loads(path.read_bytes())["schema"] for path in OLDER} == set(STEPS)


def test_an_unknown_field_is_found_at_any_depth() -> None:
    """In mappings and in lists of them."""
    assert unknown_field({"a": [{"b": 1}]}, {"a": [{"b": 1}]}) == ""
    assert unknown_field({"a": [{"b": 1, "c": 2}]}, {"a": [{"b": 1}]}) == "a.c"
    assert unknown_field({"a": {}, "d": 1}, {"a": {}}) == "d"


# ---------------------------------------------------------------- what a person reads


@pytest.fixture
def lmgrid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LMGRID_CACHE", str(tmp_path / "cache"))
    return lambda *arguments: CliRunner().invoke(main, list(arguments))


def run_small(lmgrid: Callable[..., Result]) -> Path:
    """Run three orders of an n-gram model on six lines; return the folder of records."""
    Path("a.txt").write_text("a b c\nb c a\n" * 30)
    Path("my.toml").write_text(
        '[[corpora]]\nname = "file"\npath = "a.txt"\n'
        '[[models]]\nname = "ngram"\norder = [1, 2, 3]\nsmoothing = "jelinek-mercer"\n'
    )
    done = lmgrid("run", "my.toml", "--results", "r", "-q", "-j", "0")
    assert done.exit_code == 0, done.output
    return Path("r/records")


@pytest.mark.parametrize(("change", "honest", "said"), KINDS.values(), ids=KINDS)
def test_every_command_says_so_and_shows_no_number(
    lmgrid: Callable[..., Result], change: Change, honest: bool, said: str
) -> None:
    """``tables``, ``plan`` and ``verify`` name the record; the others are shown as ever."""
    records = run_small(lmgrid)
    path = next(p for p in records.iterdir() if b'["order",2]' in p.read_bytes())
    path.write_bytes(rewritten(path.read_bytes(), change, honest=honest))
    shown = lmgrid("tables", "r", "--rows")
    assert shown.exit_code == 0
    assert said in shown.stderr
    assert str(path) in shown.stderr
    assert len(shown.stdout.splitlines()) == 1 + 2
    planned = lmgrid("plan", "my.toml", "--results", "r")
    assert said in planned.stderr
    assert "recorded, but not to be read" in planned.stdout
    verified = lmgrid("verify", "r")
    assert said in verified.stdout
    assert verified.exit_code == (0 if "newer" in said else 1)
    again = lmgrid("run", "my.toml", "--results", "r", "-q", "-j", "0")
    assert again.exit_code == 2  # its place is taken, and nothing is put over it
    assert said in again.stderr


def test_older_and_newer_records_are_never_one_line(tmp_path: Path) -> None:
    """A cell of the first version and of this one have two lines."""
    store = Store(DATA / "records-1")
    older = [outcome for outcome in store if isinstance(outcome, Record)]
    rows = frame(store)
    assert len(rows) == 4
    assert rows["version"].nunique() == len({o.inputs.version for o in store})
    assert all(record.inputs.version != record_of(3.0).inputs.version for record in older)


# ---------------------------------------------------------------- other versions of libraries


def older_numpy(envelope: dict[str, Any]) -> None:
    environment = envelope["body"]["provenance"]["environment"]
    for library in environment["libraries"]:
        if library[0] == "numpy":
            library[1] = "1.0"


def with_older_numpy(lmgrid: Callable[..., Result]) -> Path:
    """Run a small grid, of which one record says that it was made with another NumPy."""
    records = run_small(lmgrid)
    path = next(p for p in records.iterdir() if b'["order",2]' in p.read_bytes())
    path.write_bytes(rewritten(path.read_bytes(), older_numpy))
    return path


def test_a_plan_says_which_libraries_were_others(lmgrid: Callable[..., Result]) -> None:
    """The record is one, and may have other bits than would come out here."""
    with_older_numpy(lmgrid)
    shown = lmgrid("plan", "my.toml", "--results", "r").stdout
    (line,) = (line for line in shown.splitlines() if "numpy" in line)
    assert "ngram[order=2" in line
    assert f" recorded with numpy 1.0, here {np.__version__}" in line


def test_what_other_libraries_made_is_run_again_on_request(lmgrid: Callable[..., Result]) -> None:
    """And only that; the record that it replaces is kept."""
    path = with_older_numpy(lmgrid)
    run = ("run", "my.toml", "--results", "r", "-q", "-j", "0")
    assert lmgrid(*run).exit_code == 0
    assert b'"1.0"' in path.read_bytes()
    assert lmgrid(*run, "--retry", "other-libraries").exit_code == 0
    assert b'"1.0"' not in path.read_bytes()
    assert [p.name[:32] for p in Path("r/superseded").iterdir()] == [path.stem]
    assert lmgrid("verify", "r").exit_code == 0


def test_unlike_libraries_are_never_averaged() -> None:
    """Two seeds of one line with two versions of a library are two lines that name them."""
    one = record_of(3.0)
    environment = one.provenance.environment
    other = replace(
        one,
        inputs=replace(one.inputs, cell=replace(one.cell, seed=1)),
        provenance=replace(
            one.provenance, environment=replace(environment, libraries=(("numpy", "1.0"),))
        ),
    )
    table = overview(frame([one, other]))
    column = table.header.index("libraries")
    assert sorted(row[column] for row in table.rows) == ["numpy 1.0", "numpy 2.0"]
    alike = overview(frame([one, replace(other, provenance=one.provenance)]))
    assert len(alike.rows) == 1
    assert "libraries" not in alike.header
