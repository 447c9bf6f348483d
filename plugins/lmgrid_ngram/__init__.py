"""Models that count: n-grams under every classical smoothing, from arrays alone."""

from __future__ import annotations

from collections.abc import Mapping

from lmgrid.spec import KernelPart, ModelPart, hookimpl
from lmgrid_ngram.parts import Arpa, NGram, NGramCount, NGramEstimate, NGramScore


@hookimpl
def lmgrid_language_models() -> Mapping[str, type[ModelPart]]:
    return {"ngram": NGram, "arpa": Arpa}


@hookimpl
def lmgrid_kernels() -> Mapping[str, type[KernelPart]]:
    return {
        "ngram-count": NGramCount,
        "ngram-estimate": NGramEstimate,
        "ngram-score": NGramScore,
    }
