"""``lmgrid plugins``: list the installed plugins, what they provide and what is wrong with them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from lmgrid.commands.options import JSON_OPTION
from lmgrid.commands.output import show_json, show_tables

if TYPE_CHECKING:
    from lmgrid.plugin.provided import Plugin


@click.command()
@click.option("--check", is_flag=True, help="End with status 1 if a plugin is broken.")
@JSON_OPTION
def plugins(*, check: bool, as_json: bool) -> None:
    """List the installed plugins and what each provides.

    The status is ok; incomplete, if an extra is not installed; partly broken or broken, if the
    plugin does not keep the contract. The reason is shown beside it.

    \b
    Examples:
      lmgrid plugins
      lmgrid plugins --check
    """
    from lmgrid.plugin.registry import Registry

    found = Registry.installed().plugins
    if as_json:
        show_json([_as_json(plugin) for plugin in found])
    else:
        _show(found)
    if check and any(plugin.problems for plugin in found):
        sys.exit(1)


def _as_json(plugin: Plugin) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "status": plugin.status,
        "reason": plugin.reason,
        "provides": [{"kind": p.kind, "name": p.name} for p in plugin.provides],
    }


def _show(found: Sequence[Plugin]) -> None:
    from lmgrid.report.layout import Table

    rows = tuple(
        (
            plugin.name,
            f"{plugin.distribution} {plugin.version}".strip(),
            plugin.status,
            ", ".join(f"{p.kind} {p.name}" for p in plugin.provides),
            plugin.reason,
        )
        for plugin in found
    )
    head = ("plugin", "distribution", "status", "provides", "reason")
    show_tables([Table(name="plugins", title="Plugins", header=head, rows=rows, numeric_columns=0)])
