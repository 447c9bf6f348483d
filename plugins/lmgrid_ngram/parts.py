"""The parts of the n-gram plugin: two models and three kernels, with their options."""

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
    - ``stupid-backoff``: relative frequencies; for unseen n-grams ``backoff`` times the score after
      the shorter context (Brants et al. 2007); not normalised, so it has no perplexity;
    - ``katz``: backoff with Good-Turing discounts (Katz 1987);
    - ``absolute``: backoff with absolute discounting (Ney, Essen and Kneser 1994);
    - ``witten-bell``: interpolated (Witten and Bell 1991, method C);
    - ``kneser-ney``: interpolated, one discount per order (Chen and Goodman 1998, section 4.1.6);
    - ``modified-kneser-ney``: interpolated, three discounts per order (same section), with the
      conventions of KenLM's estimator;
    - ``jelinek-mercer``: interpolated, with weights learned by EM on a held-out share of the text
      (Jelinek and Mercer 1980).

    ``mle``, ``add-delta`` and ``stupid-backoff`` need every n-gram of the text, so they allow
    neither ``min_counts`` nor ``prune``.
    """

    deterministic: ClassVar[bool] = True
    preload: ClassVar[tuple[str, ...]] = ("lmgrid_ngram.model",)

    order: Annotated[
        int, msgspec.Meta(ge=1, le=7, description="Words of the longest n-grams, context included.")
    ] = 3
    smoothing: Annotated[
        Smoothing, msgspec.Meta(description="How unseen n-grams get probability.")
    ] = "modified-kneser-ney"
    delta: Annotated[
        float, msgspec.Meta(gt=0, description="What add-delta adds to each count.")
    ] = 1.0
    backoff: Annotated[
        float,
        msgspec.Meta(gt=0, le=1, description="Factor of stupid-backoff for each shorter context."),
    ] = 0.4
    held_out: Annotated[
        float,
        msgspec.Meta(
            gt=0,
            lt=1,
            description="Share of the training text on which jelinek-mercer learns its weights.",
        ),
    ] = 0.1
    min_counts: Annotated[
        tuple[Annotated[int, msgspec.Meta(ge=1)], ...],
        msgspec.Meta(
            description="How often an n-gram must occur to be kept: a number for bigrams, one for "
            "trigrams and so on; the last one holds for all higher orders."
        ),
    ] = ()
    prune: Annotated[
        float,
        msgspec.Meta(
            ge=0,
            description="Leave out n-grams that change the perplexity by less than this fraction "
            "(Stolcke 1998); 0 keeps all.",
        ),
    ] = 0.0
    kenlm_quirk: Annotated[
        bool,
        msgspec.Meta(
            description="Count the last n-gram of each order as KenLM does, to compare with it "
            "digit by digit; moves unigrams in the fourth digit."
        ),
    ] = False
    memory: Annotated[
        Annotated[int, msgspec.Meta(ge=1)] | None,
        msgspec.Meta(
            description="Megabytes that counting may take before it sorts on disk; none: a quarter "
            "of the machine's memory."
        ),
    ] = None

    def __post_init__(self) -> None:
        if not 1 <= self.order <= 7:
            raise ValueError(f"order is {self.order}; it must be from 1 to 7")
        if self.delta <= 0:
            raise ValueError(f"delta is {self.delta}; it must be above 0")
        if (self.min_counts or self.prune) and self.smoothing in WHOLE:
            raise ValueError(
                f"{self.smoothing} cannot redistribute the probability of n-grams left out; "
                "remove min_counts and prune, or choose another smoothing"
            )
        if any(low > high for low, high in pairwise(self.min_counts)):
            raise ValueError(
                f"min_counts are {self.min_counts}; no number may be below the one before it, "
                "since a longer n-gram is never more frequent than a shorter one in it"
            )

    def min_count(self, k: int) -> int:
        """Return how often a k-gram must occur to be kept; 1 for unigrams."""
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
    """A backoff n-gram model that another toolkit estimated, read from an ARPA file.

    Nothing is trained. The file and the corpus must have the same words, so make both from one
    training text.
    """

    deterministic: ClassVar[bool] = True

    path: Annotated[Path, msgspec.Meta(description="The ARPA file, plain or gzip.")]
    sha256: Annotated[
        str,
        msgspec.Meta(
            pattern="^[0-9a-f]{64}$",
            description="The file's sha256 as sha256sum prints it; another file is refused.",
        ),
    ]

    def make(self, context: Context) -> ArpaModel:
        from lmgrid_ngram.arpa.model import ArpaModel

        return ArpaModel(self, context.vocabulary)


@dataclass(frozen=True, kw_only=True)
class ZipfianTextPart(KernelPart):
    """Sizes of a kernel that works on generated text; the word of rank r has p ∝ 1 / r (Zipf)."""

    tokens: Annotated[int, msgspec.Meta(ge=2, description="Tokens of the generated text.")] = 20_000
    order: Annotated[int, msgspec.Meta(ge=1, le=7, description="Words of the longest n-grams.")] = 3
    vocabulary: Annotated[
        int, msgspec.Meta(ge=3, description="Ids to draw from, <unk> and <eos> included.")
    ] = 2_000


@dataclass(frozen=True, kw_only=True)
class NGramCountPart(ZipfianTextPart):
    """Count the n-grams of generated text: a dictionary of tuples against sorted integer keys."""

    def make(self, device: str) -> Kernel:
        from lmgrid_ngram import kernels

        return kernels.counting(self)


@dataclass(frozen=True, kw_only=True)
class NGramEstimatePart(ZipfianTextPart):
    """Estimate modified Kneser-Ney from generated text: dictionaries against arrays."""

    def make(self, device: str) -> Kernel:
        from lmgrid_ngram import kernels

        return kernels.estimating(self)


@dataclass(frozen=True, kw_only=True)
class NGramScorePart(ZipfianTextPart):
    """Score generated text with an n-gram model: token by token against whole arrays."""

    def make(self, device: str) -> Kernel:
        from lmgrid_ngram import kernels

        return kernels.scoring(self)
