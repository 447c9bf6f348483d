"""Options of the fixed-window model and its kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lmgrid.spec import Kernel, KernelPart
from lmgrid_torch.parts import NeuralPart, Size

if TYPE_CHECKING:
    from lmgrid_torch.network import Network
    from lmgrid_torch.outputs.softmax import Output


@dataclass(frozen=True, kw_only=True)
class WindowPart(NeuralPart):
    """A neural network over the last words (Bengio, Ducharme, Vincent and Jauvin 2003).

    y = b + W x + U tanh(d + H x), where x are the vectors of the last ``context`` words, one
    after the other; the context crosses sentence ends. embedding: length of a word vector.
    hidden: units of the tanh layer. direct: whether there is W, straight from the word vectors
    to the output. batch: windows a step, at most.

    Sites: ``input`` is x; ``hidden`` is the tanh layer. Output bias at the start: the log
    unigram distribution; other biases: 0. initialisation of all other weights: ``xavier``, or
    ``uniform`` within ± uniform_range.
    """

    context: Size = 4
    embedding: Size = 64
    hidden: Size = 128
    direct: bool = False
    batch: Size = 128

    @property
    def sites(self) -> tuple[str, ...]:
        return ("input", "hidden", *super().sites)

    @property
    def features(self) -> int:
        return self.hidden + (self.context * self.embedding if self.direct else 0)

    def network(self, output: Output) -> Network:
        from lmgrid_window.network import WindowNetwork

        return WindowNetwork(self, output)


@dataclass(frozen=True, kw_only=True)
class WindowForwardPart(KernelPart):
    """The window model's forward pass to its logits: one example at a time against a batch.

    examples: windows. context, embedding, hidden, vocabulary: sizes of the model.
    """

    requires: ClassVar[str] = "torch"
    preload: ClassVar[tuple[str, ...]] = ("lmgrid_window.kernel",)
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda*", "mps")

    examples: Size = 256
    context: Size = 4
    embedding: Size = 64
    hidden: Size = 128
    vocabulary: Size = 2000

    def make(self, device: str) -> Kernel:
        from lmgrid_window.kernel import forward_pass

        return forward_pass(self, device)
