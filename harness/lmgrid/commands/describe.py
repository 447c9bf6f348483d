"""``lmgrid describe``: print what a part is with its options, or the schema of grid files."""

from __future__ import annotations

import inspect
import io
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
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
from lmgrid.commands.output import console, say, show_json
from lmgrid.errors import UserError
from lmgrid.printable import printable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from lmgrid.plugin.provided import ProvidedPart
    from lmgrid.plugin.registry import Registry

TABLE_WIDTH = 80  # characters of a line of the table
TYPE_WIDTH = 22  # characters of the column of types, beside a column of descriptions
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
@click.argument("name", required=False, shell_complete=_complete_name)
@click.option(
    "--schema",
    "as_schema",
    is_flag=True,
    help="Print the JSON schema of grid files, with every installed part, for an editor.",
)
@JSON_OPTION
def describe(*, name: str | None, as_schema: bool, as_json: bool) -> None:
    """Print what a part is and its options.

    NAME is a model, corpus, optimizer, regularizer, reporter, kernel, device or executor of an
    installed plugin; lmgrid plugins lists them.

    \b
    Examples:
      lmgrid describe rnn
      lmgrid describe --schema > grid.schema.json
    """
    from lmgrid.plugin.registry import Registry

    registry = Registry.installed()
    if as_schema:
        if name is not None:
            raise UserError("--schema: describes whole grid files; leave out NAME")
        _show_schema(registry)
    elif name is None:
        raise UserError("name a part, as in lmgrid describe rnn; lmgrid plugins lists them")
    else:
        _describe(name, registry, as_json=as_json)


def _show_schema(registry: Registry) -> None:
    from lmgrid.gridfile.schema import grid_schema

    show_json(grid_schema(registry))


def _describe(name: str, registry: Registry, *, as_json: bool) -> None:
    """Print every part of a name, which may be one of several kinds."""
    from lmgrid.grid import near

    provided = [p for plugin in registry.plugins for p in plugin.provides]
    found = [p for p in provided if p.name == name]
    if not found:
        raise UserError(f"{name}: nothing has that name{near(name, {p.name for p in provided})}")
    if as_json:
        show_json([_as_json(p) for p in found])
        return
    for part in found:
        _show(part)


def _as_json(found: ProvidedPart) -> dict[str, Any]:
    return {
        "kind": found.kind,
        "name": found.name,
        "distribution": found.distribution,
        "lacks": found.missing_requirement,
        "description": _doc(found.part),
        "options": [asdict(option) for option in _options(found.part)],
    }


@dataclass(frozen=True, kw_only=True)
class _Option:
    """One option of a part, as text."""

    option: str
    type: str
    default: str
    description: str  # empty where the part does not state one


def _options(part: type[Any]) -> tuple[_Option, ...]:
    """Return the options of a part, in the order in which it declares them."""
    from lmgrid.grid import show
    from lmgrid.plugin.options import default

    hints = get_type_hints(part, include_extras=True)
    rows = []
    for field in fields(part):
        value, hint = default(field), hints[field.name]
        rows.append(
            _Option(
                option=field.name,
                type=_type(hint),
                default="must be given" if value is MISSING else show(value),
                description=_description(hint),
            )
        )
    return tuple(rows)


def _description(hint: Any) -> str:
    """Return the ``Meta(description=...)`` of an option's annotation; the last one counts.

    >>> from msgspec import Meta
    >>> _description(Annotated[int, Meta(ge=1, description="Units of each layer.")])
    'Units of each layer.'
    """
    limits = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    found = [text for limit in limits if (text := getattr(limit, "description", None))]
    return found[-1] if found else ""


def _type(hint: Any) -> str:
    """Return a type as a reader of a grid file would say it."""
    if get_origin(hint) is Annotated:
        kind, *limits = get_args(hint)
        return " ".join([_type(kind), *filter(None, map(_limit, limits))])
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
    """Return the docstring of a part, then those of the classes whose options it inherits."""
    told = [base for base in part.__mro__ if base is part or _declared(base)]
    return [doc for doc in map(_doc, told) if doc]


def _doc(part: type[Any]) -> str:
    """Return a class's own docstring; empty for the signature that ``dataclass`` puts there."""
    doc = inspect.cleandoc(part.__doc__ or "")
    return "" if doc.startswith(f"{part.__name__}(") else doc


def _declared(base: type[Any]) -> set[str]:
    """Return the options that a class declares itself, without those that it inherits."""
    own = inspect.get_annotations(base)
    return {f.name for f in fields(base) if f.name in own} if is_dataclass(base) else set()


def _limit(limit: Any) -> str:
    signs = (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))
    known = ((sign, getattr(limit, name, None)) for name, sign in signs)
    return " ".join(f"{sign} {value}" for sign, value in known if value is not None)


def _show(found: ProvidedPart) -> None:
    """Print the docstring of a part, and below it the table of its options."""
    lacks = f" ({found.missing_requirement})" if found.missing_requirement else ""
    say(f"{found.kind} {found.name}, from {found.distribution}{lacks}\n")
    say("\n\n".join(_docs(found.part)))
    options = _options(found.part)
    if options:
        _show_options(options)
    else:
        say("It has no options.")


def _show_options(options: Sequence[_Option]) -> None:
    """Print one row for each option. Types and descriptions wrap at 80 columns."""
    from rich import box
    from rich.table import Table

    described = any(option.description for option in options)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("option", no_wrap=True)
    table.add_column("type", max_width=None if not described else TYPE_WIDTH)
    table.add_column("default")
    if described:
        table.add_column("description")
    for row in options:
        cells = (row.option, row.type, row.default, row.description)
        table.add_row(*map(printable, cells[: len(table.columns)]))
    drawn = io.StringIO()
    screen = console(drawn)
    screen.print(table, width=min(screen.width, TABLE_WIDTH))
    click.echo(drawn.getvalue(), nl=False)
