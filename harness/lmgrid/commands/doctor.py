"""``lmgrid doctor``: show what a bug report needs."""

from __future__ import annotations

import os
import time
from typing import Any

import click

from lmgrid.commands.options import JSON_OPTION
from lmgrid.commands.output import say, show_json


@click.command()
@JSON_OPTION
def doctor(*, as_json: bool) -> None:
    """Show versions, machine and plugins, for a bug report.

    It prints the versions of Python and libraries, the processor, memory and load of the machine,
    its devices, the status of each plugin, and the folders in use.

    \b
    Examples:
      lmgrid doctor
      lmgrid doctor --json > doctor.json
    """
    found = _findings()
    if as_json:
        show_json(found)
        return
    width = max(map(len, found))
    for name, value in found.items():
        say(f"{name:<{width}}  {value}")


def _findings() -> dict[str, Any]:
    from lmgrid.machine.environment import cache_folder, capture, load_average
    from lmgrid.plugin.registry import Registry

    registry, environment = Registry.installed(), capture()
    return {
        **dict(environment.libraries),
        "python": environment.python,
        "system": environment.system,
        "processor": environment.processor,
        "cores": environment.cores,
        "load average": load_average(),
        "memory (MB)": _memory() // 10**6,
        "clock resolution (ns)": round(time.get_clock_info("perf_counter").resolution * 1e9),
        "devices": ", ".join(registry.device_names()),
        **{f"plugin {p.name}": f"{p.status} {p.reason}".strip() for p in registry.plugins},
        "cache": str(cache_folder()),
        "LMGRID_DATA": os.environ.get("LMGRID_DATA", "not set"),
    }


def _memory() -> int:
    import psutil

    return int(psutil.virtual_memory().total)
