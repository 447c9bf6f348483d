"""The hooks of a plugin: functions that return its parts by name, or are told of cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pluggy

from lmgrid.spec import GROUP

if TYPE_CHECKING:
    from lmgrid.engine import ExecutorPart
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


@hookspec
def lmgrid_cell_started(address: str, label: str) -> None:
    """A cell begins. For trackers; called in the process of the command."""


@hookspec
def lmgrid_point(address: str, point: Any) -> None:
    """A cell reached a point of its curve (an ``lmgrid.result.Point``)."""


@hookspec
def lmgrid_cell_finished(address: str, outcome: Any) -> None:
    """A cell ended: an ``lmgrid.records.record.Record``, ``KernelRecord`` or ``Failure``."""
