"""The contract tests of ``lmgrid.testing``, run on the sparse non-negative matrix model."""

from __future__ import annotations

from lmgrid.testing import LanguageModelContract
from lmgrid_snm.parts import SNMPart


class TestAdjusted(LanguageModelContract):
    part = SNMPart(order=4, batch=500, slots=2**12)


class TestByCounts(LanguageModelContract):
    part = SNMPart(order=3, remote=1, skip=3, adjacent=1, adjustment="counts", slots=2**10)


class TestUnadjusted(LanguageModelContract):
    part = SNMPart(order=3, adjustment="none")


class TestUnigrams(LanguageModelContract):
    part = SNMPart(order=1, remote=0, skip=0, slots=2**10)
