"""The window model passes the contract tests, with and without regularizers."""

from __future__ import annotations

import pytest

from lmgrid.testing import LanguageModelContract
from lmgrid_torch.optimizers.parts import AdamPart
from lmgrid_torch.regularizers.parts import ClipPart, DropoutPart, L2Part
from lmgrid_window.parts import WindowPart

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")


class TestWindow(LanguageModelContract):
    part = WindowPart(embedding=8, hidden=16, batch=64)
    optimizer = AdamPart(lr=0.01)


class TestDirectAndRegularized(LanguageModelContract):
    part = WindowPart(embedding=8, hidden=16, batch=64, direct=True)
    optimizer = AdamPart(lr=0.01)
    regularizers = (DropoutPart(), L2Part(), ClipPart())
