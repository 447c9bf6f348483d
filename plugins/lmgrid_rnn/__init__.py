"""The recurrent neural language model."""

from __future__ import annotations

from collections.abc import Mapping

from lmgrid.spec import KernelPart, ModelPart, ReporterPart, hookimpl
from lmgrid_rnn import parts, reporter_parts


@hookimpl
def lmgrid_language_models() -> Mapping[str, type[ModelPart]]:
    return {"rnn": parts.RnnPart}


@hookimpl
def lmgrid_kernels() -> Mapping[str, type[KernelPart]]:
    return {"recurrent-step": parts.RecurrentStepPart}


@hookimpl
def lmgrid_reporters() -> Mapping[str, type[ReporterPart]]:
    return {"gradients": reporter_parts.GradientsPart}
