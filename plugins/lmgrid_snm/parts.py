"""What a grid may ask of the sparse non-negative matrix model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import msgspec

from lmgrid.spec import Context, ModelPart

if TYPE_CHECKING:
    from lmgrid_snm.model import SNMModel

Few = Annotated[int, msgspec.Meta(ge=0, le=16)]


@dataclass(frozen=True, kw_only=True)
class SNMPart(ModelPart):
    """A sparse non-negative matrix model (Shazeer, Pelemans and Chelba 2015, arXiv 1412.1454).

    The words before a word t yield features f: n-grams and skip-grams of its sentence. Then

        P(t | f) = sum over i in f of M[i, t] / sum over i in f of M[i, *]
        M[i, t]  = exp(A(i, t)) C[i, t] / C[i, *]

    with the counts C of the training text. The adjustment A is a sum of weights, one for each
    metafeature of the link (i, t), in a hashed table. The weights are learned with Adagrad, not
    with the cell's optimizer, from the Poisson loss of the training text, where each token is left
    out of the counts that predict it. The budget limits this training. One more feature, which is
    always present and the same for all words, gives every word a probability above 0.

    A skip-gram has 1 to ``remote`` words, then 1 to ``skip`` words left out, then 0 to ``adjacent``
    words next to the target, at most ``order - 1`` words in all. If ``remote`` and ``skip`` are 0,
    there are only n-grams.

    ``adjustment`` is one of ``none``: A = 0; ``counts``: metafeatures are the feature's template
    (which n-gram or skip-gram), its count and the link's count, in buckets of half an octave, and
    their conjunctions; ``lexical``: these, the feature itself, and the target with the template.
    The paper interpolates between buckets of an octave and uses more conjunctions.
    """

    deterministic: ClassVar[bool] = True
    preload: ClassVar[tuple[str, ...]] = ("lmgrid_snm.model",)

    order: Annotated[
        int, msgspec.Meta(ge=1, le=16, description="n-grams have up to order - 1 words of context.")
    ] = 5
    remote: Annotated[
        Few, msgspec.Meta(description="Longest remote part of a skip-gram, in words; 0 for none.")
    ] = 2
    skip: Annotated[
        Few,
        msgspec.Meta(description="Most words that a skip-gram leaves out; 0 for no skip-grams."),
    ] = 2
    adjacent: Annotated[
        Few, msgspec.Meta(description="Most words of a skip-gram next to the target.")
    ] = 2
    adjustment: Annotated[
        Literal["none", "counts", "lexical"],
        msgspec.Meta(description="Metafeatures of A: none, of counts, or of counts and words."),
    ] = "lexical"
    rate: Annotated[float, msgspec.Meta(gt=0, description="Learning rate of Adagrad.")] = 0.1
    batch: Annotated[int, msgspec.Meta(ge=1, description="Tokens per step.")] = 4096
    slots: Annotated[
        int, msgspec.Meta(ge=1, le=2**30, description="Weights in the hashed table of A.")
    ] = 2**20

    def __post_init__(self) -> None:
        if (self.remote == 0) != (self.skip == 0):
            raise ValueError(
                f"remote is {self.remote} and skip is {self.skip}; a skip-gram has at least one "
                "word before at least one left out: set both above 0, or both to 0 for n-grams"
            )

    @property
    def inactive_options(self) -> tuple[str, ...]:
        learning = ("rate", "batch", "slots") if self.adjustment == "none" else ()
        return learning if self.skip else (*learning, "adjacent")

    @property
    def budgeted(self) -> bool:
        return self.adjustment != "none"

    def make(self, context: Context) -> SNMModel:
        from lmgrid_snm.model import SNMModel

        return SNMModel(self, len(context.vocabulary))
