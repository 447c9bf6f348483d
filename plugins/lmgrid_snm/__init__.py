"""The sparse non-negative matrix language model: skip-grams, counted and then adjusted."""

from __future__ import annotations

from collections.abc import Mapping

from lmgrid.spec import ModelPart, hookimpl
from lmgrid_snm.parts import SNM


@hookimpl
def lmgrid_language_models() -> Mapping[str, type[ModelPart]]:
    return {"snm": SNM}
