"""Corpora: text files of one's own, the King James Bible, WikiText-2 and the Brown corpus."""

from __future__ import annotations

from collections.abc import Mapping

from lmgrid.spec import CorpusPart, hookimpl
from lmgrid_text.brown import Brown
from lmgrid_text.file import File
from lmgrid_text.kjv import KingJames
from lmgrid_text.wikitext import WikiText2

__all__ = ["Brown", "File", "KingJames", "WikiText2"]


@hookimpl
def lmgrid_corpora() -> Mapping[str, type[CorpusPart]]:
    return {
        "brown": Brown,
        "file": File,
        "kjv": KingJames,
        "wikitext-2": WikiText2,
    }
