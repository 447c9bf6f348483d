"""Laws of the JSON schema of grid files: it accepts what the reader does, and finds mistakes."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass, fields
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator

from lmgrid.budget import Budget
from lmgrid.grid import GridError
from lmgrid.gridfile.axes import read_parts
from lmgrid.gridfile.reader import read_grid
from lmgrid.gridfile.schema import LIMITS, grid_schema
from lmgrid.plugin.provided import Plugin, ProvidedPart
from lmgrid.plugin.registry import CORE_PLUGIN, Registry
from lmgrid.spec import Context, LanguageModel, ModelPart

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NET = {"name": "rnn", "optimizers": ["adam"]}


@cache
def installed() -> Registry:
    return Registry.installed()


@cache
def schema() -> dict[str, Any]:
    """Return the schema as an editor reads it, from JSON."""
    found: dict[str, Any] = json.loads(json.dumps(grid_schema(installed())))
    return found


def accepts(document: dict[str, Any]) -> bool:
    """Return whether the schema accepts a grid file."""
    return bool(Draft202012Validator(schema()).is_valid(document))


def definition(name: str) -> dict[str, Any]:
    """Return one of the schema's definitions, with those that it refers to."""
    return {"$defs": schema()["$defs"], **schema()["$defs"][name]}


def shown_grids() -> list[Any]:
    """Return the grids of the benchmarks and of the documents, each with its name."""
    found = [
        (path.name, path.read_text("utf-8")) for path in sorted(ROOT.glob("benchmarks/*.toml"))
    ]
    for document in DOCUMENTS:
        blocks = re.findall(r"```toml\n(.*?)```", document.read_text("utf-8"), flags=re.DOTALL)
        found += [(document.name, text) for text in blocks if "unigram" not in text]
    found = [(name, text.replace("…", "0" * 64)) for name, text in found]  # a sha256 left out
    return [pytest.param(text, id=f"{name}-{i}") for i, (name, text) in enumerate(found)]


def test_the_schema_is_one_of_draft_2020_12() -> None:
    """It names the draft and keeps its rules, also where no plugin brings a part."""
    for found in (schema(), grid_schema(Registry([CORE_PLUGIN]))):
        assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        Draft202012Validator.check_schema(found)


@pytest.mark.parametrize("text", shown_grids())
def test_a_grid_that_is_shown_is_accepted(text: str) -> None:
    """Every grid of the benchmarks and documents, also by an editor that knows only draft 7."""
    document = tomllib.loads(text)
    for draft in (Draft202012Validator, Draft7Validator):
        assert [error.message for error in draft(schema()).iter_errors(document)] == []


@pytest.mark.parametrize(
    "document",
    [
        {"seed": [0]},  # seeds
        {"title": 3},
        {"corpora": {"name": "kjv"}},  # one block in place of a list of blocks
        {"corpora": [{"part": "kings"}]},  # no name
        {"corpora": [{"name": "kjb"}]},
        {"corpora": [{"name": "file", "fractions": [0.8, 0.1, 0.1]}]},  # an axis of numbers
        {"corpora": [{"name": "file", "fractions": [[0.8, 0.2]]}]},
        {"corpora": [{"name": "file", "train": ""}]},
        {"models": [{"name": "ngram", "ordre": 3}]},
        {"models": [{"name": "ngram", "order": "3"}]},
        {"models": [{"name": "ngram", "order": 8}]},
        {"models": [{"name": "ngram", "order": [2, 8]}]},
        {"models": [{"name": "ngram", "order": []}]},
        {"models": [{"name": "ngram", "smoothing": "kneser-nay"}]},
        {"models": [{"name": "ngram", "kenlm_quirk": 1}]},
        {"models": [{"name": "ngram", "seeds": [1]}]},  # deterministic
        {"models": [{"name": "ngram", "optimizers": ["adam"]}]},  # not trained by gradient
        {"models": [{"name": "ngram", "budget": {"epochs": 1}}]},
        {"models": [{"name": "arpa"}]},  # needs path and sha256
        {"models": [{**NET, "optimizers": "adam"}]},
        {"models": [{**NET, "optimizers": []}]},
        {"models": [{**NET, "optimizers": ["admm"]}]},
        {"models": [{**NET, "optimizers": ["dropout"]}]},  # a regularizer
        {"models": [{**NET, "optimizers": [{"lr": 0.1}]}]},  # no name
        {"models": [{**NET, "optimizers": [{"name": "adam", "lr": "0.1"}]}]},
        {"models": [{**NET, "regularizers": ["dropout"]}]},  # not a list of lists
        {"models": [{**NET, "budget": {"epoch": 1}}]},
        {"models": [{**NET, "budget": {"epochs": 0}}]},
        {"models": [{**NET, "budget": {"tokens": 1.5}}]},
        {"models": [{**NET, "seeds": -1}]},
        {"models": [{**NET, "seeds": 2**63}]},
        {"models": [{**NET, "threads": 0}]},
        {"models": [{**NET, "devices": [1]}]},
        {"kernels": [{"name": "lecture", "threads": 1}]},  # only at the top
        {"exclude": [{"model": "rnn"}]},  # no reason
        {"exclude": [{"because": "slow"}]},  # no condition
        {"exclude": [{"because": "slow", "model": "none"}]},
        {"exclude": [{"because": "slow", "rnn.hiden": 64}]},
        {"exclude": [{"because": "slow", "rnn": {"hiden": 64}}]},
        {"exclude": [{"because": "slow", "budget": 1}]},
    ],
    ids=json.dumps,
)
def test_a_mistake_is_rejected_as_the_reader_rejects_it(
    document: dict[str, Any], tmp_path: Path
) -> None:
    """A misspelt key, a wrong type, an unknown part, a missing name, a setting without effect."""
    assert not accepts(document)
    assert not is_read(document, tmp_path)


@pytest.mark.parametrize(
    "condition",
    [
        {"optimizer": "none", "regularizer": ["none", "clip"]},
        {"rnn.hidden": [64, 128]},
        {"rnn": {"hidden": 64}, "model": {"cell": "lstm"}},
        {"seed": 1, "device": "cpu", "threads": [1, 2]},
        {"ngram.min_counts": [[2, 2]], "kjv.lowercase": True},
    ],
    ids=json.dumps,
)
def test_a_condition_is_written_as_a_filter_reads_it(condition: dict[str, Any]) -> None:
    """By a kind, an option of a kind or of a part, with quotes or as TOML reads it without."""
    assert accepts({"exclude": [{"because": "slow", **condition}]})


PARTS = [key for key in schema()["$defs"] if "." in key]


@pytest.mark.parametrize("key", PARTS)
def test_a_default_is_a_value_that_may_be_written(key: str) -> None:
    """An editor that writes an option with its default writes a valid one, also by draft 7."""
    table = definition(key)
    written = {k: o["default"] for k, o in table["properties"].items() if "default" in o}
    given = {"arpa": {"path": "a.arpa", "sha256": "0" * 64}, "file": {"path": "a.txt"}}
    name = table["properties"]["name"]["const"]
    block = {"name": name, **written, **given.get(name, {})}
    for draft in (Draft202012Validator, Draft7Validator):
        assert [error.message for error in draft(table).iter_errors(block)] == []
    assert read_parts(installed(), key.split(".")[0], block, "block")


def test_every_option_is_described() -> None:
    """The schema has each option with the description that its part gives it."""
    for key in PARTS:
        kind, name = key.split(".", 1)
        options = definition(key)["properties"]
        assert {*installed().option_names(kind, name)} <= {*options}
        assert [o for o, s in options.items() if "$ref" not in s and "description" not in s] == []


def test_the_limits_are_those_of_a_budget() -> None:
    """One is described for each field of Budget."""
    assert {*LIMITS} == {field.name for field in fields(Budget)}


# ---------------------------------------------------------------- against the reader

SCALARS = st.one_of(
    st.booleans(),
    st.integers(-2, 12),
    st.sampled_from([2**63 - 1, 2**63, 0.0, 0.5, 1.0, -1.5, 1e300]),
    st.sampled_from(["", "cpu", "auto", "adam", "none", "0" * 64]),
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=6)


@st.composite
def blocks(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A part's key in the schema, and a table of some of its options with drawn values."""
    key = draw(st.sampled_from(PARTS))
    table = schema()["$defs"][key]
    options = {k: s for k, s in table["properties"].items() if "$ref" not in s and k != "name"}
    block = {"name": table["properties"]["name"]["const"]}
    for option in draw(st.lists(st.sampled_from([*options]), max_size=3)) if options else ():
        named = st.sampled_from(re.findall(r"'enum': \[('\w+')", str(options[option])) or ["x"])
        written = [options[option].get("default", "x")]
        block[option] = draw(st.one_of(VALUES, st.sampled_from(written), named))
    return key, block


@given(blocks())
def test_what_the_schema_rejects_of_a_part_the_reader_rejects(
    drawn: tuple[str, dict[str, Any]],
) -> None:
    """Of any option with any value, one or a list; so the schema never marks what would run."""
    key, block = drawn
    if not Draft202012Validator(definition(key)).is_valid(block):
        with pytest.raises(GridError):
            read_parts(installed(), key.split(".")[0], block, "block")


SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "seeds": VALUES,
        "threads": VALUES,
        "devices": VALUES,
        "budget": st.dictionaries(st.sampled_from([*LIMITS, "epoch"]), SCALARS, max_size=2),
        "optimizers": st.lists(st.sampled_from(["adam", "sgd", {"name": "adam"}, {}, "clip", 3])),
        "regularizers": st.lists(st.lists(st.sampled_from(["clip", "l2", {"name": "l2"}, "adam"]))),
    },
)


@given(SETTINGS, SETTINGS, st.sampled_from(["ngram", "rnn", "snm", "arpa"]))
def test_a_grid_that_the_reader_accepts_is_accepted(
    tmp_path_factory: pytest.TempPathFactory,
    top: dict[str, Any],
    own: dict[str, Any],
    model: str,
) -> None:
    """Whatever is set at the top of the file and in the block of a model."""
    document = {**top, "corpora": [{"name": "kjv"}], "models": [{"name": model, **own}]}
    if is_read(document, tmp_path_factory.getbasetemp()):
        assert accepts(document)


def is_read(document: dict[str, Any], folder: Path) -> bool:
    """Return whether the reader accepts a grid file."""
    path = folder / "grid.toml"
    path.write_text("\n".join(f"{key} = {toml(value)}" for key, value in document.items()))
    try:
        return bool(read_grid(path, installed()).cells)
    except GridError:
        return False


def toml(value: Any) -> str:
    """Return a value as TOML, in one line."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{json.dumps(k)} = {toml(v)}' for k, v in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value)


# ---------------------------------------------------------------- third parties


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True, kw_only=True)
class OddPart(ModelPart):
    """A model with options of unusual types."""

    path: Path = Path("a.txt")
    colour: Colour = Colour.RED
    either: int | tuple[int, ...] = (1, 2)
    needed: float

    by_gradient = True

    @property
    def budgeted(self) -> bool:
        return self.needed > 0

    def make(self, context: Context) -> LanguageModel:
        raise NotImplementedError


def test_options_of_unusual_types_are_in_the_schema() -> None:
    """A file with a default, an enumeration, a number or several; what must be given is named."""
    plugin = Plugin("odd", "odd", "1", (ProvidedPart("model", "odd", OddPart, "odd"),))
    found = grid_schema(Registry([plugin]))
    Draft202012Validator.check_schema(found)
    table = {"$defs": found["$defs"], **found["$defs"]["model.odd"]}
    assert table["required"] == ["name", "needed"]
    defaults = {name: option.get("default") for name, option in table["properties"].items()}
    assert defaults["path"] == "a.txt"
    assert defaults["colour"] == "red"
    assert defaults["either"] == [[1, 2]]
    validator = Draft202012Validator(table)
    odd = {"name": "odd", "needed": 1.0}
    good: list[dict[str, Any]]
    good = [{}, {"either": 3}, {"either": [3, [4, 5]]}, {"budget": {"epochs": 2}}]
    bad: list[dict[str, Any]] = [{"either": "x"}, {"colour": "blue"}, {"path": 1}]
    assert [options for options in good if not validator.is_valid({**odd, **options})] == []
    assert [options for options in bad if validator.is_valid({**odd, **options})] == []
