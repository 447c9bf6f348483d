"""The recurrent model passes the contract tests, with and without regularizers."""

from __future__ import annotations

import pytest

from lmgrid.testing import LanguageModelContract
from lmgrid_rnn.parts import RnnPart
from lmgrid_torch.optimizers.parts import AdamPart
from lmgrid_torch.regularizers.parts import ClipPart, DropoutPart, L2Part

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")


class TestElman(LanguageModelContract):
    part = RnnPart(embedding=8, hidden=16, batch=7, steps=10)
    optimizer = AdamPart(lr=0.01)


class TestLstm(LanguageModelContract):
    part = RnnPart(cell="lstm", embedding=8, hidden=16, batch=7, steps=10, forget_bias=1.0)
    optimizer = AdamPart(lr=0.01)


class TestDeep(LanguageModelContract):
    """A GRU with all options around the recurrence at once."""

    part = RnnPart(
        cell="gru",
        embedding=8,
        hidden=16,
        layers=2,
        residual=True,
        layer_norm=True,
        projection=8,
        tied=True,
        recurrent_initialisation="orthogonal",
        batch=7,
        steps=10,
    )
    optimizer = AdamPart(lr=0.01)


class TestRegularized(LanguageModelContract):
    part = RnnPart(cell="relu", embedding=8, hidden=16, batch=7, steps=10, learned_start=False)
    optimizer = AdamPart(lr=0.01)
    regularizers = (DropoutPart(), L2Part(), ClipPart())
