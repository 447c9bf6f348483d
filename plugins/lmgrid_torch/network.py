"""The interface of a network, and ways to cut a text into batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmgrid.vocabulary import EOS
from lmgrid_torch.outputs.softmax import MASKED, Output


@dataclass(frozen=True)
class Batch:
    """The inputs and targets of one forward and backward pass."""

    inputs: Tensor  # as the network's forward takes them
    targets: Tensor  # (N,), ids, or MASKED for padding
    tokens: int  # number of targets that are not masked


class Network(nn.Module, ABC):
    """Computes features from words; its output layer computes log-probabilities from features.

    ``context`` is the number of words that the network reads for each word it predicts: k for a
    window of k words, 1 for a recurrent network, whose state represents the earlier words.
    """

    def __init__(self, *, context: int, output: Output) -> None:
        super().__init__()
        self.context = context
        self.output = output
        self.embedding: nn.Parameter | None = None
        self.tied = False

    def add_word_vectors(self, size: int, *, tied: bool) -> None:
        """Add word vectors of length ``size``; if ``tied``, use the output layer's weights."""
        self.tied = tied
        if not tied:
            self.embedding = nn.Parameter(torch.empty(self.output.vocabulary, size))

    def word_vectors(self) -> tuple[Tensor, ...]:
        """Return the table of word vectors, (V, m), as one or more tensors in the order of ids."""
        return self.output.word_weights() if self.embedding is None else (self.embedding,)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    @abstractmethod
    def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return the features (N, F) of the N words to predict, and the state after them.

        ``state`` is the state returned for the preceding words, None at the start of a text: a
        tensor, or nested tuples of tensors. The returned state is detached, so gradients do not
        reach across batches. For scoring, ``inputs`` are consecutive rows of
        ``contexts(tokens, context)``.
        """

    @abstractmethod
    def epoch(self, tokens: Tensor, order: torch.Generator) -> Iterator[Batch]:
        """Yield batches that predict each token exactly once; ``order`` is on the CPU."""


def look_up(words: Tensor, table: Sequence[Tensor]) -> Tensor:
    """Return the vectors of words of any shape, (…) -> (…, m), from the parts of a table (V, m)."""
    if len(table) == 1:
        return F.embedding(words, table[0])
    flat, first = words.flatten(), 0
    vectors = table[0].new_empty(len(flat), table[0].shape[1])
    for part in table:
        rows = ((flat >= first) & (flat < first + len(part))).nonzero()[:, 0]
        vectors = vectors.index_copy(0, rows, F.embedding(flat[rows] - first, part))
        first += len(part)
    return vectors.view(*words.shape, -1)


def contexts(tokens: Tensor, size: int) -> Tensor:
    """Return the ``size`` words before each token, (n, size), with <eos> before the first.

    >>> contexts(torch.tensor([5, 6, 7]), size=2)
    tensor([[1, 1],
            [1, 5],
            [5, 6]])
    """
    start = tokens.new_full((size,), EOS)
    return torch.cat((start, tokens)).unfold(0, size, 1)[: len(tokens)]


def shuffled(tokens: Tensor, context: int, batch: int, order: torch.Generator) -> Iterator[Batch]:
    """Yield all windows in random order, in batches of at most ``batch``.

    The sizes of the batches differ by at most one.
    """
    windows = contexts(tokens, context)
    drawn = torch.randperm(len(tokens), generator=order).to(tokens.device)
    for picked in drawn.tensor_split(-(-len(tokens) // batch)):
        yield Batch(inputs=windows[picked], targets=tokens[picked], tokens=len(picked))


def streams(tokens: Tensor, batch: int, steps: int) -> Iterator[Batch]:
    """Yield consecutive chunks, (T, B) with T at most ``steps``, of ``batch`` parallel streams.

    Stream b is the b-th of ``batch`` consecutive parts of the text, whose lengths differ by at
    most one word. The shorter parts are padded with one masked target.

    >>> chunks = streams(torch.tensor([5, 6, 7, 8, 9]), batch=2, steps=2)
    >>> [chunk.targets.tolist() for chunk in chunks]
    [[5, 7, 6, 8], [-100, 9]]
    """
    bounds = torch.arange(batch + 1, device=tokens.device) * len(tokens) // batch
    length = -(-len(tokens) // batch)
    places = bounds[:-1] + torch.arange(length, device=tokens.device)[:, None]  # (L, B)
    masked = places >= bounds[1:]
    places = places.clamp(max=len(tokens) - 1)
    inputs = contexts(tokens, 1)[places, 0]
    targets = tokens[places].masked_fill(masked, MASKED)
    chunks = -(-length // steps)
    counts = [int((~part).sum()) for part in masked.cpu().tensor_split(chunks)]
    parts = (x.tensor_split(chunks) for x in (inputs, targets))
    for words, following, count in zip(*parts, counts, strict=True):
        yield Batch(inputs=words, targets=following.flatten(), tokens=count)
