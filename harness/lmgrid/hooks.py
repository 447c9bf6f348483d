"""Specifies the hooks that a plugin may implement, for pluggy.

Some hooks return the plugin's parts by name. The others are called when a cell starts, reaches a
point of its learning curve, or ends; see docs/plugins.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pluggy

from lmgrid.spec import GROUP

if TYPE_CHECKING:
    from lmgrid.engine import ExecutorPart
    from lmgrid.grid import AnyCell
    from lmgrid.records.record import Outcome
    from lmgrid.result import Point
    from lmgrid.spec import (
        CorpusPart,
        DevicePart,
        KernelPart,
        ModelPart,
        OptimizerPart,
        RegularizerPart,
        ReporterPart,
    )

hookspec = pluggy.HookspecMarker(GROUP)


@hookspec
def lmgrid_corpora() -> Mapping[str, type[CorpusPart]]:  # type: ignore[empty-body]
    """Return corpora by name."""


@hookspec
def lmgrid_language_models() -> Mapping[str, type[ModelPart]]:  # type: ignore[empty-body]
    """Return language models by name."""


@hookspec
def lmgrid_optimizers() -> Mapping[str, type[OptimizerPart]]:  # type: ignore[empty-body]
    """Return optimizers by name."""


@hookspec
def lmgrid_regularizers() -> Mapping[str, type[RegularizerPart]]:  # type: ignore[empty-body]
    """Return regularizers by name."""


@hookspec
def lmgrid_kernels() -> Mapping[str, type[KernelPart]]:  # type: ignore[empty-body]
    """Return kernels (a loop and its vectorised form) by name."""


@hookspec
def lmgrid_reporters() -> Mapping[str, type[ReporterPart]]:  # type: ignore[empty-body]
    """Return reporters by name."""


@hookspec
def lmgrid_devices() -> Mapping[str, type[DevicePart]]:  # type: ignore[empty-body]
    """Return device providers by a pattern of device names, such as ``cuda*``."""


@hookspec
def lmgrid_executors() -> Mapping[str, type[ExecutorPart]]:  # type: ignore[empty-body]
    """Return executors by name."""


# The hooks below are called in the process of the command. For each cell, ``lmgrid_cell_started``
# is called once, then ``lmgrid_point`` for each point, then ``lmgrid_cell_finished`` once.
# ``address`` identifies the cell and its record.


@hookspec
def lmgrid_cell_started(address: str, cell: AnyCell) -> None:
    """Called when a cell starts."""


@hookspec
def lmgrid_point(address: str, cell: AnyCell, point: Point) -> None:
    """Called when a cell has reached a point of its learning curve."""


@hookspec
def lmgrid_cell_finished(address: str, cell: AnyCell, outcome: Outcome) -> None:
    """Called when a cell has ended, with a ``Record``, a ``KernelRecord`` or a ``Failure``."""
