"""``lmgrid describe``: what a name stands for, with its options."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import click

from lmgrid.commands.options import JSON_OPTION
from lmgrid.commands.output import say, show_json, show_tables
from lmgrid.errors import UserError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from lmgrid.plugin.provided import Provided

_WORDS = {
    Path: "file",
    NoneType: "none",
    str: "text",
    bool: "true | false",
    int: "integer",
    float: "number",
}


def _complete_name(context: click.Context, parameter: Any, start: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    from lmgrid.plugin.registry import Registry

    names = {p.name for plugin in Registry.installed().plugins for p in plugin.provides}
    return [CompletionItem(name) for name in sorted(names) if name.startswith(start)]


@click.command()
@click.argument("name", shell_complete=_complete_name)
@JSON_OPTION
def describe(name: str, as_json: bool) -> None:
    """Say what NAME is (a model, corpus, optimizer, …), its source, and its options."""
    from lmgrid.grid import near
    from lmgrid.plugin.registry import Registry

    provided = [p for plugin in Registry.installed().plugins for p in plugin.provides]
    found = [p for p in provided if p.name == name]
    if not found:
        raise UserError(f"{name}: nothing has that name{near(name, {p.name for p in provided})}")
    if as_json:
        show_json([_as_json(p) for p in found])
        return
    for part in found:
        _show(part)


def _as_json(found: Provided) -> dict[str, Any]:
    return {
        "kind": found.kind,
        "name": found.name,
        "distribution": found.distribution,
        "lacks": found.lacks,
        "description": inspect.cleandoc(found.part.__doc__ or ""),
        "options": [
            dict(zip(("option", "type", "default"), o, strict=True)) for o in _options(found)
        ],
    }


def _options(found: Provided) -> tuple[tuple[str, str, str], ...]:
    from lmgrid.grid import show
    from lmgrid.plugin.options import default

    rows = []
    hints = get_type_hints(found.part, include_extras=True)
    for field in fields(found.part):
        value = default(field)
        shown = "must be given" if value is MISSING else show(value)
        rows.append((field.name, _type(hints[field.name]), shown))
    return tuple(rows)


def _type(hint: Any) -> str:
    """Return a type as a reader of a grid file would say it."""
    if get_origin(hint) is Annotated:
        kind, *limits = get_args(hint)
        return " ".join([_type(kind), *(_limit(limit) for limit in limits)])
    if get_origin(hint) is Literal:
        return " | ".join(map(str, get_args(hint)))
    if get_origin(hint) in (Union, UnionType):
        return " | ".join(map(_type, get_args(hint)))
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        several = len(kinds) == 2 and kinds[1] is Ellipsis
        return f"({_type(kinds[0])}, …)" if several else f"({', '.join(map(_type, kinds))})"
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def _docs(part: type[Any]) -> list[str]:
    """Return what a part says of itself, and then what those say whose options it takes over."""
    told = [base for base in part.__mro__ if base is part or _options_of(base)]
    return [inspect.cleandoc(base.__doc__) for base in told if base.__doc__]


def _options_of(base: type[Any]) -> set[str]:
    """Return the options that a class declares itself; what is a class's alone is none."""
    own = inspect.get_annotations(base)
    return {f.name for f in fields(base) if f.name in own} if is_dataclass(base) else set()


def _limit(limit: Any) -> str:
    signs = (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))
    known = ((sign, getattr(limit, name, None)) for name, sign in signs)
    return " ".join(f"{sign} {value}" for sign, value in known if value is not None)


def _show(found: Provided) -> None:
    from lmgrid.report.layout import Table

    lacks = f" ({found.lacks})" if found.lacks else ""
    say(f"{found.kind} {found.name}, from {found.distribution}{lacks}\n")
    say("\n\n".join(_docs(found.part)))
    options = _options(found)
    if options:
        show_tables([Table("options", "", ("option", "type", "default"), options, 0)])
    else:
        say("It has no options.")
