"""Prints texts, tables and JSON, with control characters made visible."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

import click

from lmgrid.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from lmgrid.report.layout import Table

PIPE_WIDTH = 1_000  # tables are as wide as they need to be where no terminal breaks lines


def say(text: str) -> None:
    """Print a text to standard output."""
    click.echo(printable(text))


def complain(text: str) -> None:
    """Print a text to standard error: a warning, or how far a run is."""
    click.echo(printable(text), err=True)


def console(file: TextIO | None = None) -> Console:
    """Return a console that draws for standard output into a file, or on standard error.

    It is as wide as the terminal; where there is none, lines are as long as they need to be.
    """
    from rich.console import Console

    stream = sys.stderr if file is None else sys.stdout
    is_terminal = stream is not None and stream.isatty()
    width = shutil.get_terminal_size().columns if is_terminal else PIPE_WIDTH
    return Console(
        file=file,
        stderr=file is None,
        force_terminal=is_terminal,
        width=width,
        highlight=False,
        markup=False,
    )


def show_tables(tables: Sequence[Table]) -> None:
    """Print tables, each as wide as the terminal allows."""
    from lmgrid.report.render import to_rich

    drawn = io.StringIO()
    screen = console(drawn)
    for table in tables:
        screen.print(to_rich(table.fit_to_width(screen.width)))
    click.echo(drawn.getvalue(), nl=False)


def show_json(value: Any) -> None:
    """Print a value as JSON; a number that JSON lacks becomes null."""
    click.echo(json.dumps(_finite(value), indent=1, ensure_ascii=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    is_odd = isinstance(value, float) and value - value != 0  # NaN or infinite
    return None if is_odd else value
