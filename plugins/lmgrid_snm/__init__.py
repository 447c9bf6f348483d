"""The sparse non-negative matrix language model: adjusted counts of n-grams and skip-grams."""

from __future__ import annotations

from collections.abc import Mapping

from lmgrid.spec import ModelPart, hookimpl
from lmgrid_snm.parts import SNMPart


@hookimpl
def lmgrid_language_models() -> Mapping[str, type[ModelPart]]:
    return {"snm": SNMPart}
