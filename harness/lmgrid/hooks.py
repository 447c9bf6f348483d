"""The hooks of a plugin: some return its parts by name, others are told what happens to cells."""

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
    """Return pairs of a loop and its vectorised form, by name."""


@hookspec
def lmgrid_reporters() -> Mapping[str, type[ReporterPart]]:  # type: ignore[empty-body]
    """Return reporters by name."""


@hookspec
def lmgrid_devices() -> Mapping[str, type[DevicePart]]:  # type: ignore[empty-body]
    """Return device providers by name pattern (``cuda*``)."""


@hookspec
def lmgrid_executors() -> Mapping[str, type[ExecutorPart]]:  # type: ignore[empty-body]
    """Return executors by name."""


# The hooks below are called in the process of the command, for each cell in this order: started
# once, its points, finished once. ``cell.model``, ``cell.optimizer``, … have names and options.


@hookspec
def lmgrid_cell_started(address: str, cell: AnyCell) -> None:
    """A cell starts. ``address`` identifies it and its record."""


@hookspec
def lmgrid_point(address: str, cell: AnyCell, point: Point) -> None:
    """A cell reached a point of its learning curve."""


@hookspec
def lmgrid_cell_finished(address: str, cell: AnyCell, outcome: Outcome) -> None:
    """A cell ended, with a ``Record``, a ``KernelRecord`` or a ``Failure``."""
