"""The fixed-window neural language model."""

from __future__ import annotations

from collections.abc import Mapping

from lmgrid.spec import KernelPart, ModelPart, hookimpl
from lmgrid_window import parts


@hookimpl
def lmgrid_language_models() -> Mapping[str, type[ModelPart]]:
    return {"window": parts.WindowPart}


@hookimpl
def lmgrid_kernels() -> Mapping[str, type[KernelPart]]:
    return {"window-forward": parts.WindowForwardPart}
