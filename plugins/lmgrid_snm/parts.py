"""The part of the sparse non-negative matrix model, with its options."""

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

    The words before a word t make features f: n-grams and skip-grams of its sentence. Then

        P(t | f) = sum over i in f of M[i, t] / sum over i in f of M[i, *]
        M[i, t]  = exp(A(i, t)) C[i, t] / C[i, *]

    with the counts C of the training text. A pair of a feature i and a word t that follows it is a
    link. The adjustment A(i, t) is a sum of weights, one for each metafeature of the link, looked
    up in a hash table. The weights are learned with Adagrad from the Poisson loss of the training
    text, where each token is left out of the counts that predict it, until the budget is used up.
    One more feature is active everywhere and has the same weight for all words, so that every word
    has some probability.

    A skip-gram has at most ``order - 1`` words in all; with ``remote`` and ``skip`` both 0 there
    are n-grams only. ``adjustment`` is one of

    - ``none``: A = 0;
    - ``counts``: metafeatures are the feature's template (which n-gram or skip-gram), its count and
      the link's count in buckets of half an octave, and their conjunctions;
    - ``lexical``: as ``counts``, with the feature itself, and the target with the template.

    The paper interpolates between buckets of an octave, and has more conjunctions.
    """

    deterministic: ClassVar[bool] = True
    preload: ClassVar[tuple[str, ...]] = ("lmgrid_snm.model",)

    order: Annotated[
        int,
        msgspec.Meta(ge=1, le=16, description="Words of the longest n-grams, target included."),
    ] = 5
    remote: Annotated[
        Few, msgspec.Meta(description="Most words of a skip-gram before the words left out.")
    ] = 2
    skip: Annotated[Few, msgspec.Meta(description="Most words that a skip-gram leaves out.")] = 2
    adjacent: Annotated[
        Few,
        msgspec.Meta(
            description="Most words of a skip-gram between those left out and the target."
        ),
    ] = 2
    adjustment: Annotated[
        Literal["none", "counts", "lexical"],
        msgspec.Meta(description="Which metafeatures adjust the relative frequencies."),
    ] = "lexical"
    rate: Annotated[float, msgspec.Meta(gt=0, description="Learning rate of Adagrad.")] = 0.1
    batch: Annotated[int, msgspec.Meta(ge=1, description="Tokens per step of Adagrad.")] = 4096
    slots: Annotated[
        int, msgspec.Meta(ge=1, le=2**30, description="Weights in the hash table.")
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
        from lmgrid_snm.index import templates
        from lmgrid_snm.metafeatures import Metafeatures
        from lmgrid_snm.model import SNMModel

        return SNMModel(
            vocabulary=len(context.vocabulary),
            templates=templates(
                order=self.order, remote=self.remote, skip=self.skip, adjacent=self.adjacent
            ),
            metafeatures=Metafeatures(lexical=self.adjustment == "lexical", slots=self.slots),
            adjusted=self.adjustment != "none",
            rate=self.rate,
            batch=self.batch,
        )
