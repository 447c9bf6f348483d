"""The transformer passes the contract tests, with and without regularizers."""

from __future__ import annotations

import pytest

from lmgrid.testing import LanguageModelContract
from lmgrid_torch.optimizers.parts import AdamPart
from lmgrid_torch.regularizers.parts import ClipPart, DropoutPart
from lmgrid_transformer.parts import TransformerPart

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")


class TestTransformer(LanguageModelContract):
    part = TransformerPart(width=16, heads=2, context=24, batch=4)
    optimizer = AdamPart(lr=0.01)


class TestTiedAndRegularized(LanguageModelContract):
    part = TransformerPart(
        width=16, heads=2, context=80, positions="sinusoidal", tied=True, batch=4
    )
    optimizer = AdamPart(lr=0.01)
    regularizers = (DropoutPart(), ClipPart())
