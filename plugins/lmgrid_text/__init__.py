"""Corpora: the user's own text files, the King James Bible, WikiText-2 and the Brown corpus."""

from __future__ import annotations

from collections.abc import Mapping

from lmgrid.spec import CorpusPart, hookimpl
from lmgrid_text.brown import BrownPart
from lmgrid_text.file import FilePart
from lmgrid_text.kjv import KingJamesPart
from lmgrid_text.wikitext import WikiText2Part

__all__ = ["BrownPart", "FilePart", "KingJamesPart", "WikiText2Part"]


@hookimpl
def lmgrid_corpora() -> Mapping[str, type[CorpusPart]]:
    return {
        "brown": BrownPart,
        "file": FilePart,
        "kjv": KingJamesPart,
        "wikitext-2": WikiText2Part,
    }
