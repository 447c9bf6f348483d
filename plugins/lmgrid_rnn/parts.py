"""Options of the recurrent model and its kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from lmgrid.spec import Kernel, KernelPart
from lmgrid_torch.parts import NeuralPart, Size

if TYPE_CHECKING:
    from lmgrid_torch.network import Network
    from lmgrid_torch.output import Output


@dataclass(frozen=True, kw_only=True)
class Rnn(NeuralPart):
    """A recurrent network (Elman 1990; as a language model, Mikolov et al. 2010).

    h(t) = tanh(W_h h(t-1) + W_e e(t) + b1), y(t) = softmax(U h(t) + b2), where e(t) is the vector
    of word t; trained by truncated back-propagation through time over parallel streams, whose
    state is carried from chunk to chunk and begins anew each epoch. cell: the recurrence.
    embedding: length of a word vector. hidden: length of the state. learned_start: whether h(0)
    is learned or 0. batch: parallel streams. steps: words of a chunk, at most.

    Sites: ``input`` is e(t); ``hidden`` is h(t) on its way to the output, not to h(t+1).
    Output bias at the start: the log unigram distribution; other biases: 0. initialisation of
    all other weights: ``xavier``, or ``uniform`` within ± uniform_range.
    """

    sites: ClassVar[tuple[str, ...]] = ("input", "hidden")

    cell: Literal["elman"] = "elman"
    embedding: Size = 64
    hidden: Size = 128
    learned_start: bool = True
    batch: Size = 20
    steps: Size = 20

    @property
    def features(self) -> int:
        return self.hidden

    def network(self, output: Output) -> Network:
        from lmgrid_rnn.network import RecurrentNetwork

        return RecurrentNetwork(self, output)


@dataclass(frozen=True, kw_only=True)
class RecurrentStep(KernelPart):
    """The recurrent step over time, forward and backward: step by step against one operation.

    The loop leaves each step and its gradient to torch; the other computes the inputs' products
    and the gradient of W_h for all steps at once. steps: T. batch: parallel streams. embedding,
    hidden: sizes of the model.
    """

    requires: ClassVar[str] = "torch"
    preload: ClassVar[tuple[str, ...]] = ("lmgrid_rnn.kernel",)
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda*", "mps")

    steps: Size = 35
    batch: Size = 20
    embedding: Size = 64
    hidden: Size = 128

    def make(self, device: str) -> Kernel:
        from lmgrid_rnn.kernel import recurrence

        return recurrence(self, device)
