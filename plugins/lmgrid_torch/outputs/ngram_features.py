"""Maximum-entropy n-gram features: hashed weights from the last words to the output."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lmgrid_torch.outputs.adaptive import Adaptive
from lmgrid_torch.outputs.slices import Slices
from lmgrid_torch.outputs.softmax import Output, Softmax

MULTIPLIER = 0x5851F42D4C957F2D  # of Knuth's MMIX generator; products wrap at 64 bits
LARGEST_ID = 2**24  # single precision holds every smaller integer


class NgramOutput(Output):
    """An output layer with maximum-entropy n-gram features (Mikolov et al. 2011, RNNME).

    Adds Σ_n θ[hash(w_1 … w_n) + v] to the logit of each entry v of the layer ``inside``, summed
    over the histories of the last 1, 2, … order - 1 words. The feature without history is the bias
    of that layer. The hash of a history is the index in θ of the first of its weights, which are
    contiguous, so different n-grams may share a weight, as in the paper. The gradient of θ is
    dense, as that of other weights.

    It reads F + order - 1 features: those of the layer inside, then the ids of the last order - 1
    words, the latest first.
    """

    def __init__(self, inside: Softmax | Adaptive, *, order: int, size: int) -> None:
        """``order``: n of the longest n-gram, at least 2; ``size``: S, the number of weights in θ.

        ValueError if the vocabulary is too large, or if θ is too small for one history.
        """
        super().__init__(features=inside.features + order - 1, vocabulary=inside.vocabulary)
        if inside.vocabulary > LARGEST_ID:
            raise ValueError(f"n-gram features hold at most {LARGEST_ID} words")
        if size < inside.entries:
            raise ValueError(
                f"{size} n-gram weights are fewer than the {inside.entries} of one history; "
                f"set direct_size = {2 ** (inside.entries - 1).bit_length()} or more"
            )
        self.inside, self.order = inside, order
        self.exact, self.block = inside.exact, inside.block
        self.weights = nn.Parameter(torch.empty(size))

    def word_weights(self) -> tuple[Tensor, ...]:
        return self.inside.word_weights()

    def start_from(self, log_unigram: Tensor) -> None:
        self.inside.start_from(log_unigram)

    def loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """Return the mean of -ln p(target) over the targets that are not masked, in nats."""
        inner, slices = self._read(features)
        return self.inside.loss(inner, targets, slices)

    def score(self, features: Tensor, targets: Tensor) -> Tensor:
        """Return ln p(target) of each target, (N, F) and (N,) -> (N,), in single precision."""
        inner, slices = self._read(features)
        return self.inside.score(inner, targets, slices)

    def forward(self, features: Tensor) -> Tensor:
        """Return ln p of each word, (N, F) -> (N, V), in float64, so that it sums to 1."""
        inner, slices = self._read(features)
        scores: Tensor = self.inside(inner, slices)
        return scores

    def _read(self, features: Tensor) -> tuple[Tensor, Slices]:
        """Split features; return those of the layer inside, (N, F), and the slices of θ to add."""
        inner, words = features.tensor_split((self.inside.features,), 1)
        return inner, Slices(self.weights, self.starts(words.long()))

    def starts(self, words: Tensor) -> Tensor:
        """Return the index in θ where the weights of each history begin, (N, L) words -> (N, L)."""
        hashed, starts = torch.zeros_like(words[:, 0]), []
        for word in words.unbind(1):
            hashed = (hashed + word + 1) * MULTIPLIER
            # the upper bits depend on all bits of the words
            starts.append((hashed >> 24) % (len(self.weights) - self.inside.entries + 1))
        return torch.stack(starts, 1)


def with_history(features: Tensor, inputs: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """Append the last L words to the features of T steps of B streams.

    ``features`` is (T B, F), ``inputs`` the words read, (T, B), and ``before`` the L - 1 words of
    each stream before them, the latest last, (L - 1, B). Returns the longer features, (T B, F + L),
    and the last L - 1 words read, which are ``before`` of the next chunk.
    """
    read = torch.cat((before, inputs))  # (L - 1 + T, B)
    steps, length = len(inputs), len(before) + 1
    last = [read[length - 1 - lag : length - 1 - lag + steps] for lag in range(length)]
    words = torch.stack(last, 2).flatten(0, 1).float()  # (T B, L); half precision lacks some ids
    return torch.cat((features, words), 1), read[steps:]
