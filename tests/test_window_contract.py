"""The window model keeps the protocol of a number, with and without regularizers."""

from __future__ import annotations

import pytest

from lmgrid.testing import LanguageModelContract
from lmgrid_torch.optimizers.parts import Adam
from lmgrid_torch.regularizers.parts import L2, Clip, Dropout
from lmgrid_window.parts import Window

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")


class TestWindow(LanguageModelContract):
    part = Window(embedding=8, hidden=16, batch=64)
    optimizer = Adam(lr=0.01)


class TestDirectAndRegularized(LanguageModelContract):
    part = Window(embedding=8, hidden=16, batch=64, direct=True)
    optimizer = Adam(lr=0.01)
    regularizers = (Dropout(), L2(), Clip())
