"""A grid file as TOML: parsed, brought to one shape, and overridden from the command line."""

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
    try:
        return tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        raise GridError("there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise GridError(f"cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise GridError(f"is not TOML: {error}") from None


def normalise(document: Block) -> Block:
    """Return the document with known keys alone, blocks as lists and bare names as tables."""
    for key in document:
        if key not in KEYS:
            raise GridError(f"{key}: unknown key{near(key, KEYS)}")
    for key in (*BLOCKS, "exclude"):
        document[key] = [dict(b) for b in _list_of_tables(document.get(key, []), key)]
    for where, block in _training_blocks(document):
        for key in TRAINING:
            if key in block:
                block[key] = _named_tables(block[key], f"{where}{key}", key == "regularizers")
    return document


def _list_of_tables(value: Any, where: str) -> list[Block]:
    if not isinstance(value, list) or not all(isinstance(b, dict) for b in value):
        raise GridError(f"{where}: expected [[{where}]] blocks")
    return value


def _training_blocks(document: Block) -> Iterator[tuple[str, Block]]:
    """Yield each block that may name optimizers and regularizers, and its key path."""
    yield "", document
    yield from ((f"models[{i}].", block) for i, block in enumerate(document["models"]))


def _named_tables(value: Any, where: str, lists: bool) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise GridError(f"{where}: expected a list that is not empty")
    return [_named_table(entry, f"{where}[{i}]", lists) for i, entry in enumerate(value)]


def _named_table(entry: Any, where: str, lists: bool = False) -> Any:
    if isinstance(entry, str):
        return {"name": entry}
    if lists and isinstance(entry, list):
        return [_named_table(inner, f"{where}[{i}]") for i, inner in enumerate(entry)]
    if not isinstance(entry, dict):
        raise GridError(f"{where}: expected a name or a table with a name")
    return dict(entry)


# ---------------------------------------------------------------- --set


def override(document: Block, assignment: str, option_names: OptionNames) -> None:
    """Put one ``KEY=VALUE`` into every block that has the option."""
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
        _override_option(document, (head, option, value), option_names)


def _override_option(
    document: Block, setting: tuple[str, str, Any], option_names: OptionNames
) -> None:
    head, option, value = setting
    blocks = list(_part_blocks(document))
    named = [(kind, b) for kind, b in blocks if head in (kind, b.get("name"))]
    takers = [b for kind, b in named if option in option_names(kind, str(b.get("name")))]
    if not takers:
        options = {o for kind, b in named for o in option_names(kind, str(b.get("name")))}
        heads = {*KINDS, *(str(b.get("name")) for _, b in blocks)}
        hint = near(option, options) if named else near(head, {*heads, "budget", *SETTINGS})
        key = f"{head}.{option}" if option else head
        raise GridError(f"--set {key}: no block has that option{hint}")
    for block in takers:
        block[option] = value


def _part_blocks(document: Block) -> Iterator[tuple[str, Block]]:
    for key, kind in BLOCKS.items():
        yield from ((kind, block) for block in document[key])
    for _, block in _training_blocks(document):
        yield from (("optimizer", table) for table in block.get("optimizers", []))
        for entry in block.get("regularizers", []):
            yield from (("regularizer", t) for t in (entry if isinstance(entry, list) else [entry]))
        yield from (("reporter", table) for table in block.get("reporters", []))


def parse_assignment(text: str, flag: str) -> tuple[str, Any]:
    """Return key and value of ``KEY=VALUE``; the value is TOML, or a bare word."""
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


def axis(value: Any, where: str) -> list[Any]:
    """Return a setting's alternatives: a list is an axis, anything else a single value."""
    values = value if isinstance(value, list) else [value]
    if not values:
        raise GridError(f"{where}: an empty list leaves nothing to run")
    return values


def conditions(block: Block, where: str) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    """Return a filter's keys, each with the values that satisfy it."""
    return tuple((key, tuple(axis(value, f"{where}.{key}"))) for key, value in _flat(block))


def _flat(block: Block) -> Iterator[tuple[str, Any]]:
    """Yield keys and values; TOML reads ``rnn.hidden = 64`` as a table in a table."""
    for key, value in block.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", found) for inner, found in _flat(value))
        else:
            yield key, value


def table(value: Any, where: str) -> Block:
    if not isinstance(value, dict):
        raise GridError(f"{where}: expected a table such as {{ epochs = 3 }}")
    return value


def alternatives(options: Block, where: str) -> Iterator[Block]:
    """Yield each combination of the options' axes."""
    axes = [axis(value, f"{where}.{key}") for key, value in options.items()]
    for values in product(*axes):
        yield dict(zip(options, values, strict=True))
