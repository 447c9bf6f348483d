"""Options of the fixed-window model and its kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from msgspec import Meta

from lmgrid.spec import Kernel, KernelPart
from lmgrid_torch.parts import NeuralPart, Size

if TYPE_CHECKING:
    from lmgrid_torch.network import Network
    from lmgrid_torch.outputs.softmax import Output


@dataclass(frozen=True, kw_only=True)
class WindowPart(NeuralPart):
    """A feed-forward neural language model (Bengio, Ducharme, Vincent and Jauvin 2003).

    y = b + W x + U tanh(d + H x), where x is the concatenated vectors of the last ``context``
    words. The context crosses sentence ends.

    Sites: ``input`` is x; ``hidden`` is the output of the tanh layer.
    """

    context: Annotated[Size, Meta(description="Words that a prediction reads.")] = 4
    embedding: Annotated[Size, Meta(description="Length of a word vector.")] = 64
    hidden: Annotated[Size, Meta(description="Units of the tanh layer.")] = 128
    direct: Annotated[
        bool, Meta(description="Whether W connects the word vectors to the output.")
    ] = False
    batch: Annotated[Size, Meta(description="Windows in a batch, at most.")] = 128

    @property
    def sites(self) -> tuple[str, ...]:
        return ("input", "hidden", *super().sites)

    @property
    def features(self) -> int:
        return self.hidden + (self.context * self.embedding if self.direct else 0)

    def make_network(self, output: Output) -> Network:
        from lmgrid_window.network import WindowNetwork

        return WindowNetwork(
            output,
            context=self.context,
            embedding=self.embedding,
            hidden=self.hidden,
            direct=self.direct,
            batch=self.batch,
        )


@dataclass(frozen=True, kw_only=True)
class WindowForwardPart(KernelPart):
    """The window model's forward pass to its logits: one example at a time against a batch."""

    requires: ClassVar[str] = "torch"
    preload: ClassVar[tuple[str, ...]] = ("lmgrid_window.kernel",)
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda*", "mps")

    examples: Annotated[Size, Meta(description="Windows.")] = 256
    context: Annotated[Size, Meta(description="Words in a window.")] = 4
    embedding: Annotated[Size, Meta(description="Length of a word vector.")] = 64
    hidden: Annotated[Size, Meta(description="Units of the tanh layer.")] = 128
    vocabulary: Annotated[Size, Meta(description="Words of the vocabulary.")] = 2000

    def make(self, device: str) -> Kernel:
        from lmgrid_window.kernel import forward_pass

        return forward_pass(
            examples=self.examples,
            context=self.context,
            embedding=self.embedding,
            hidden=self.hidden,
            vocabulary=self.vocabulary,
            device=device,
        )
