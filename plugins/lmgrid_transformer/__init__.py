"""The transformer language model."""

from __future__ import annotations

from collections.abc import Mapping

from lmgrid.spec import ModelPart, hookimpl
from lmgrid_transformer import parts


@hookimpl
def lmgrid_language_models() -> Mapping[str, type[ModelPart]]:
    return {"transformer": parts.TransformerPart}
