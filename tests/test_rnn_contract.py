"""The recurrent model keeps the protocol of a number, with and without regularizers."""

from __future__ import annotations

import pytest

from lmgrid.testing import LanguageModelContract
from lmgrid_rnn.parts import Rnn
from lmgrid_torch.optimizers.parts import Adam
from lmgrid_torch.regularizers.parts import L2, Clip, Dropout

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")


class TestElman(LanguageModelContract):
    part = Rnn(embedding=8, hidden=16, batch=7, steps=10)
    optimizer = Adam(lr=0.01)


class TestLstm(LanguageModelContract):
    part = Rnn(cell="lstm", embedding=8, hidden=16, batch=7, steps=10, forget_bias=1.0)
    optimizer = Adam(lr=0.01)


class TestDeep(LanguageModelContract):
    """A GRU with everything that stands around the recurrence, at once."""

    part = Rnn(
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
    optimizer = Adam(lr=0.01)


class TestRegularized(LanguageModelContract):
    part = Rnn(cell="relu", embedding=8, hidden=16, batch=7, steps=10, learned_start=False)
    optimizer = Adam(lr=0.01)
    regularizers = (Dropout(), L2(), Clip())
