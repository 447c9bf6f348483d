"""What a grid may ask of the n-gram plugin: the model's options and the kernels'."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import msgspec

from lmgrid.spec import Context, Kernel, KernelPart, ModelPart

if TYPE_CHECKING:
    from lmgrid_ngram.arpa.model import ArpaModel
    from lmgrid_ngram.model import NGramModel

Smoothing = Literal[
    "mle",
    "add-delta",
    "stupid-backoff",
    "katz",
    "absolute",
    "witten-bell",
    "kneser-ney",
    "modified-kneser-ney",
    "jelinek-mercer",
]
WHOLE = ("mle", "add-delta", "stupid-backoff")  # smoothings that need every n-gram they counted


@dataclass(frozen=True, kw_only=True)
class NGramPart(ModelPart):
    """An n-gram model: the next word given at most ``order - 1`` words of its sentence.

    ``smoothing`` is one of

    - ``mle``: relative frequencies; zero where the context or the word after it was never seen;
    - ``add-delta``: ``delta`` added to every count (Lidstone);
    - ``stupid-backoff``: relative frequencies, ``backoff`` times the shorter context's where
      unseen (Brants et al. 2007); not normalised, so it has no perplexity;
    - ``katz``: backoff with Good-Turing discounts (Katz 1987);
    - ``absolute``: backoff with absolute discounting (Ney, Essen and Kneser 1994);
    - ``witten-bell``: interpolated (Witten and Bell 1991, method C);
    - ``kneser-ney``: interpolated, one discount per order (Chen and Goodman 1998, section 4.1.6);
    - ``modified-kneser-ney``: interpolated, three discounts per order (there too), with the
      conventions of KenLM's estimator;
    - ``jelinek-mercer``: interpolated, with weights learned by EM on ``held_out`` of the text.

    ``min_counts`` is how often n-grams must occur to be kept, from bigrams up; the last number is
    for all higher orders. ``prune`` leaves out n-grams that change the perplexity by less than
    this share (Stolcke 1998). ``kenlm_quirk`` repeats how KenLM books the last n-gram of each
    order, which moves unigrams in the fourth digit. ``memory`` is how many megabytes counting may
    take before it sorts on disk; by default a quarter of the machine's.
    """

    deterministic: ClassVar[bool] = True
    preload: ClassVar[tuple[str, ...]] = ("lmgrid_ngram.model",)

    order: Annotated[int, msgspec.Meta(ge=1, le=7)] = 3
    smoothing: Smoothing = "modified-kneser-ney"
    delta: Annotated[float, msgspec.Meta(gt=0)] = 1.0  # of add-delta
    backoff: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.4  # of stupid-backoff
    held_out: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.1  # of jelinek-mercer
    min_counts: tuple[Annotated[int, msgspec.Meta(ge=1)], ...] = ()
    prune: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    kenlm_quirk: bool = False
    memory: Annotated[int, msgspec.Meta(ge=1)] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.order <= 7:
            raise ValueError(f"order is {self.order}; an n-gram has 1 to 7 words")
        if self.delta <= 0:
            raise ValueError(f"delta is {self.delta}; what is added to each count is above 0")
        if (self.min_counts or self.prune) and self.smoothing in WHOLE:
            raise ValueError(
                f"{self.smoothing} has nowhere to put the probability of n-grams left out; "
                "leave out min_counts and prune, or choose another smoothing"
            )
        if any(low > high for low, high in pairwise(self.min_counts)):
            raise ValueError(
                f"min_counts are {self.min_counts}; a longer n-gram is never more frequent, "
                "so let no number be below the one before it"
            )

    def min_count(self, k: int) -> int:
        """Return how often a k-gram must occur to be kept."""
        if k == 1 or not self.min_counts:
            return 1
        return self.min_counts[min(k - 2, len(self.min_counts) - 1)]

    @property
    def normalised(self) -> bool:
        return self.smoothing != "stupid-backoff"

    @property
    def sums_to_one(self) -> bool:
        return self.smoothing not in ("stupid-backoff", "mle")

    def make(self, context: Context) -> NGramModel:
        from lmgrid_ngram.model import NGramModel

        return NGramModel(self, len(context.vocabulary), context.cache)


@dataclass(frozen=True, kw_only=True)
class ArpaPart(ModelPart):
    """An n-gram model that another toolkit estimated, from an ARPA file; nothing is trained.

    ``path`` names the file, plain or gzip; a relative path counts from the working directory.
    ``sha256`` (as ``sha256sum`` prints it) says which file is meant: it decides the identity of the
    cell, and a file that has another is refused. The words of the file and of the corpus must be
    the same, so let both come from one training text.
    """

    deterministic: ClassVar[bool] = True

    path: Path
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]

    def make(self, context: Context) -> ArpaModel:
        from lmgrid_ngram.arpa.model import ArpaModel

        return ArpaModel(self, context.vocabulary)


@dataclass(frozen=True, kw_only=True)
class ZipfianTextPart(KernelPart):
    """Options of what is measured on generated text: word r has probability 1 / r, about."""

    tokens: Annotated[int, msgspec.Meta(ge=2)] = 20_000
    order: Annotated[int, msgspec.Meta(ge=1, le=7)] = 3
    vocabulary: Annotated[int, msgspec.Meta(ge=3)] = 2_000


@dataclass(frozen=True, kw_only=True)
class NGramCountPart(ZipfianTextPart):
    """Count the n-grams of generated Zipfian text: a dictionary of tuples against sorted keys."""

    def make(self, device: str) -> Kernel:
        from lmgrid_ngram import kernels

        return kernels.counting(self)


@dataclass(frozen=True, kw_only=True)
class NGramEstimatePart(ZipfianTextPart):
    """Estimate modified Kneser-Ney from generated Zipfian text: dictionaries against arrays."""

    def make(self, device: str) -> Kernel:
        from lmgrid_ngram import kernels

        return kernels.estimating(self)


@dataclass(frozen=True, kw_only=True)
class NGramScorePart(ZipfianTextPart):
    """Score generated Zipfian text with an n-gram model: token by token against whole arrays."""

    def make(self, device: str) -> Kernel:
        from lmgrid_ngram import kernels

        return kernels.scoring(self)
