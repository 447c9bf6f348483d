"""The transformer keeps the protocol of a number, with and without regularizers."""

from __future__ import annotations

import pytest

from lmgrid.testing import LanguageModelContract
from lmgrid_torch.optimizers.parts import Adam
from lmgrid_torch.regularizers.parts import Clip, Dropout
from lmgrid_transformer.parts import Transformer

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")


class TestTransformer(LanguageModelContract):
    part = Transformer(width=16, heads=2, context=24, batch=4)
    optimizer = Adam(lr=0.01)


class TestTiedAndRegularized(LanguageModelContract):
    part = Transformer(width=16, heads=2, context=80, positions="sinusoidal", tied=True, batch=4)
    optimizer = Adam(lr=0.01)
    regularizers = (Dropout(), Clip())
