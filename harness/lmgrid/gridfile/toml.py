"""Parses a grid file as TOML, normalises it, and applies the overrides of the command line."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from dataclasses import fields
from itertools import product
from pathlib import Path
from typing import Any

from lmgrid.budget import Budget
from lmgrid.grid import BLOCKS, KINDS, SETTINGS, TRAINING, GridError, near

Block = dict[str, Any]
OptionNames = Callable[[str, str], tuple[str, ...]]  # of a kind and a part's name

KEYS = ("title", "takes", *SETTINGS, *TRAINING, *BLOCKS, "exclude")


def parse(path: Path) -> Block:
    """Return the content of a TOML file. Raises GridError if it is not a readable TOML file."""
    try:
        return tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        raise GridError("there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise GridError(f"cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise GridError(f"is not TOML: {error}") from None


def normalise(document: Block) -> Block:
    """Change a document to its normal form in place, and return it.

    Every block key has a list of tables, and a part that is given by its bare name becomes a table
    with that name. Raises GridError for an unknown key and for a value of another type.
    """
    for key in document:
        if key not in KEYS:
            raise GridError(f"{key}: unknown key{near(key, KEYS)}")
    for key in (*BLOCKS, "exclude"):
        document[key] = [dict(b) for b in _list_of_tables(document.get(key, []), key)]
    for prefix, block in _training_blocks(document):
        for key in TRAINING:
            if key in block:
                block[key] = _named_tables(
                    block[key], f"{prefix}{key}", nested=key == "regularizers"
                )
    return document


def _list_of_tables(value: Any, path: str) -> list[Block]:
    if not isinstance(value, list) or not all(isinstance(b, dict) for b in value):
        raise GridError(f"{path}: expected [[{path}]] blocks")
    return value


def _training_blocks(document: Block) -> Iterator[tuple[str, Block]]:
    """Yield each block that may have the keys of TRAINING, after the prefix of their paths."""
    yield "", document
    yield from ((f"models[{i}].", block) for i, block in enumerate(document["models"]))


def _named_tables(value: Any, path: str, *, nested: bool) -> list[Any]:
    """Return a list with each bare name as a table; ``nested``: its entries are such lists."""
    if not isinstance(value, list) or not value:
        raise GridError(f"{path}: expected a list that is not empty")
    return [_named_table(entry, f"{path}[{i}]", nested=nested) for i, entry in enumerate(value)]


def _named_table(entry: Any, path: str, *, nested: bool = False) -> Any:
    if isinstance(entry, str):
        return {"name": entry}
    if nested and isinstance(entry, list):
        return [_named_table(inner, f"{path}[{i}]") for i, inner in enumerate(entry)]
    if not isinstance(entry, dict):
        raise GridError(f"{path}: expected a name or a table with a name")
    return dict(entry)


# ---------------------------------------------------------------- --set


def override(document: Block, assignment: str, option_names: OptionNames) -> None:
    """Set the option of one ``KEY=VALUE`` in every block that has it.

    Raises GridError if no block has the option.
    """
    key, value = parse_assignment(assignment, "--set")
    head, dot, option = key.partition(".")
    if not dot and key in ("title", "takes", *SETTINGS):
        document[key] = value
        for block in document["models"]:
            block.pop(key, None)
    elif head == "budget" and option in {field.name for field in fields(Budget)}:
        for _, block in _training_blocks(document):
            if block is document or "budget" in block:
                block["budget"] = {**table(block.get("budget", {}), "budget"), option: value}
    else:
        _override_option(document, head=head, option=option, value=value, option_names=option_names)


def _override_option(
    document: Block, *, head: str, option: str, value: Any, option_names: OptionNames
) -> None:
    """Set an option of a kind or of a part, ``head``, in every block that has it."""
    blocks = list(_part_blocks(document))
    named = [(kind, b) for kind, b in blocks if head in (kind, b.get("name"))]
    having = [b for kind, b in named if option in option_names(kind, str(b.get("name")))]
    if not having:
        options = {o for kind, b in named for o in option_names(kind, str(b.get("name")))}
        heads = {*KINDS, *(str(b.get("name")) for _, b in blocks)}
        hint = near(option, options) if named else near(head, {*heads, "budget", *SETTINGS})
        key = f"{head}.{option}" if option else head
        raise GridError(f"--set {key}: no block has that option{hint}")
    for block in having:
        block[option] = value


def _part_blocks(document: Block) -> Iterator[tuple[str, Block]]:
    """Yield the kind and the table of every part that the document names."""
    for key, kind in BLOCKS.items():
        yield from ((kind, block) for block in document[key])
    for _, block in _training_blocks(document):
        yield from (("optimizer", table) for table in block.get("optimizers", []))
        for entry in block.get("regularizers", []):
            yield from (("regularizer", t) for t in (entry if isinstance(entry, list) else [entry]))
        yield from (("reporter", table) for table in block.get("reporters", []))


def parse_assignment(text: str, flag: str) -> tuple[str, Any]:
    """Return key and value of ``KEY=VALUE``; a value that is not TOML is a string.

    ``flag`` is named in the GridError that is raised if the text is not an assignment.

    >>> parse_assignment("rnn.hidden=[64, 128]", "--set")
    ('rnn.hidden', [64, 128])
    >>> parse_assignment("model=rnn", "--only")
    ('model', 'rnn')
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip() or not value.strip():
        raise GridError(f"{flag} {text}: expected KEY=VALUE")
    try:
        document = tomllib.loads(f"value = {value}")
        if len(document) > 1:
            raise GridError(f"{flag} {text}: more than one value")
        return key.strip(), document["value"]
    except tomllib.TOMLDecodeError:
        if "\n" in value or any(mark in value for mark in "\"'[]{}="):
            raise GridError(f"{flag} {text}: {value!r} is not a TOML value") from None
        return key.strip(), value.strip()


# ---------------------------------------------------------------- axes


def axis(value: Any, path: str) -> list[Any]:
    """Return the values of an axis: the items of a list, or a single value.

    Raises GridError for an empty list.
    """
    values = value if isinstance(value, list) else [value]
    if not values:
        raise GridError(f"{path}: an empty list leaves nothing to run")
    return values


def conditions(block: Block, path: str) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    """Return the conditions of a filter: each key with its accepted values.

    >>> conditions({"model": "rnn", "rnn": {"hidden": [64, 128]}}, "exclude[0]")
    (('model', ('rnn',)), ('rnn.hidden', (64, 128)))
    """
    return tuple((key, tuple(axis(value, f"{path}.{key}"))) for key, value in _flat(block))


def _flat(block: Block) -> Iterator[tuple[str, Any]]:
    """Yield each key with its value; a key of a table in a table is joined by a dot.

    TOML reads ``rnn.hidden = 64`` as such a table.
    """
    for key, value in block.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", found) for inner, found in _flat(value))
        else:
            yield key, value


def table(value: Any, path: str) -> Block:
    """Return a value that must be a table. Raises GridError if it is not."""
    if not isinstance(value, dict):
        raise GridError(f"{path}: expected a table such as {{ epochs = 3 }}")
    return value


def alternatives(options: Block, path: str) -> Iterator[Block]:
    """Yield each combination of the values of some options.

    >>> list(alternatives({"order": [2, 3], "delta": 1.0}, "models[0]"))
    [{'order': 2, 'delta': 1.0}, {'order': 3, 'delta': 1.0}]
    """
    axes = [axis(value, f"{path}.{key}") for key, value in options.items()]
    for values in product(*axes):
        yield dict(zip(options, values, strict=True))
