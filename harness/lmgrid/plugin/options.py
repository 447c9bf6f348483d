"""A part's options: from a table of a grid file to a checked instance, and to its identity."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import MISSING, Field, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

import msgspec

from lmgrid.grid import Part, PartError, near

T = TypeVar("T")


@cache
def _hints(part: Hashable) -> dict[str, Any]:
    return get_type_hints(part, include_extras=True)


def option_names(part: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(part))


def names_file(part: type[Any], option: str) -> bool:
    """Whether an option names a file or several, by its annotation: ``Path``, ``Path | None``, …"""
    return _holds_path(_hints(cast(Hashable, part))[option])


def _holds_path(hint: Any) -> bool:
    return hint is Path or any(map(_holds_path, get_args(hint)))


def check_types(part: type[Any]) -> None:
    """Raise TypeError or NameError if options of such types cannot be read from a grid."""
    _hints(cast(Hashable, part))
    msgspec.json.Decoder(part)


def default(field: Field[Any]) -> Any:
    """Return a field's default, or MISSING where it must be given."""
    return field.default if field.default_factory is MISSING else field.default_factory()


def make_part(part: type[T], options: Mapping[str, Any]) -> T:
    """Return an instance with checked options; PartError names the option at fault."""
    for name in options:
        if name not in option_names(part):
            raise PartError(f"unknown option{near(name, option_names(part))}", name)
    try:
        return msgspec.convert(dict(options), part, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise PartError(*_explain(str(error))) from None
    except Exception as error:  # of a third party's own check
        raise PartError(f"{type(error).__name__}: {error}") from None


def _decode(kind: type[Any], value: Any) -> Any:
    if kind is Path and isinstance(value, str) and value and "\x00" not in value:
        return Path(value)
    raise ValueError("Expected the name of a file")


def _explain(message: str) -> tuple[str, str]:
    """Return what msgspec says as (sentence, option); it ends with `` - at `$.option` ``."""
    sentence, _, where = message.partition(" - at `$")
    return sentence, where.strip("`.").split("[")[0]


def describe_part(name: str, instance: Any) -> Part:
    """Return the identity of an instance: every option, those that name files apart."""
    part, options, files, changed = type(instance), [], [], []
    for field in sorted(fields(instance), key=lambda field: field.name):
        value = getattr(instance, field.name)
        if value != default(field):
            changed.append(field.name)
        if names_file(part, field.name) and (value is not None or default(field) is None):
            files += [(field.name, str(path)) for path in _listed(value)]
        else:
            options.append((field.name, _plain(value, field.name)))
    return Part(name, tuple(options), tuple(files), tuple(changed))


def _listed(value: Any) -> tuple[Any, ...]:
    """Return the files that an option names: none, one, or several."""
    if isinstance(value, (tuple, list)):
        return tuple(value)
    return () if value is None else (value,)


def all_options(part: type[Any], described: Part, folder: Path | None = None) -> dict[str, Any]:
    """Return a part's options as a grid gives them; files count from a folder, if it is given."""
    options: dict[str, Any] = dict(described.options)
    named: dict[str, list[str]] = {}
    for option, name in described.files:
        named.setdefault(option, []).append(name if folder is None else str(folder / name))
    for option, names in named.items():
        options[option] = names if _holds_several(part, option) else names[0]
    return options


def _holds_several(part: type[Any], option: str) -> bool:
    """Whether an option is a sequence of files."""
    return _is_sequence(_hints(cast(Hashable, part)).get(option))


def _is_sequence(hint: Any) -> bool:
    if get_origin(hint) in (tuple, list):
        return True
    return any(map(_is_sequence, get_args(hint)))


def _plain(value: Any, name: str) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_plain(inner, name) for inner in value)
    if isinstance(value, float) and not math.isfinite(value):
        raise PartError(f"{value} is not a finite number", name)
    if not (value is None or isinstance(value, (bool, int, float, str))):
        raise PartError(f"holds a {type(value).__name__}, which has no place in a grid", name)
    return value
