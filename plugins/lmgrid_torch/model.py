"""A neural language model: trains, scores and predicts with a network, and saves its weights."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lmgrid.spec import LogProbs, Progress, Recipe, Sizes, State, Tokens
from lmgrid.vocabulary import EOS
from lmgrid_torch.memory import memory_errors
from lmgrid_torch.network import Network, contexts
from lmgrid_torch.training.computation import PLAIN, Computation
from lmgrid_torch.training.loop import train_network
from lmgrid_torch.training.trainer import Trainer, as_tensor

WEIGHTS = "weights.safetensors"


class NeuralModel:
    """An ``lmgrid.spec.LanguageModel`` of a network; also Predicts, Stored, Resumable and Sized.

    ``fit`` and ``score`` raise MemoryError when memory runs out.
    """

    def __init__(self, network: Network, computation: Computation = PLAIN) -> None:
        self.network, self.computation = network, computation
        computation.select_products(network.device)
        self._trainer: Trainer | None = None  # of the latest fit

    def fit(self, train: Tokens, recipe: Recipe) -> Generator[Progress, float | None, None]:
        """Train the network; see ``lmgrid_torch.training.loop`` for when it yields.

        ValueError if the text is empty or the recipe has no optimizer; Diverged if the loss is not
        finite too often.
        """
        with memory_errors(), self.computation.compile_clock() as clock:
            self._trainer = Trainer(self.network, train, recipe, self.computation)
            yield from train_network(self._trainer, clock)

    def state(self) -> State:
        """Return copies of all that is needed to resume training from this yield of ``fit``."""
        if self._trainer is None:
            raise ValueError("this model has no training to resume; call fit first")
        return self._trainer.state()

    @memory_errors()
    @torch.no_grad()
    def score(self, tokens: Tokens) -> LogProbs:
        """Return ln p(tokens[i] | <eos>, tokens[:i]), shape (n,).

        The last block is padded, so that all matrix products have the same shape and the scores of
        a prefix of a text are bit-equal to those within the text.
        """
        if not len(tokens):
            return np.empty(0)
        padded = self._padded(tokens)
        blocks = zip(
            self._features(padded), torch.split(padded, self.network.output.block), strict=True
        )
        scores = [self.network.output.score(features, block) for features, block in blocks]
        return np.asarray(torch.cat(scores)[: len(tokens)].cpu().double().numpy())

    @torch.no_grad()
    def next_log_probs(self, context: Tokens) -> LogProbs:
        """Return ln p(v | <eos>, context) for each word v, shape (V,)."""
        padded = self._padded(np.append(context, EOS))
        place = len(context)  # of the next word
        *_, features = self._features(padded)
        row = place % self.network.output.block
        return np.asarray(self.network.output(features[row : row + 1])[0].cpu().numpy())

    def save(self, folder: Path) -> None:
        """Write the weights into an existing folder."""
        weights = {name: value.contiguous() for name, value in self.network.state_dict().items()}
        save_file(weights, folder / WEIGHTS)

    def load(self, folder: Path) -> None:
        """Read the weights saved there; ValueError if they do not fit this model."""
        path = folder / WEIGHTS
        try:
            self.network.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            message = f"{path} does not hold the weights of this model; train it again: {error}"
            raise ValueError(message) from error

    def sizes(self) -> Sizes:
        """Return the number of trained parameters, and the bytes of all weights."""
        weights = list(self.network.parameters())
        size = sum(weight.numel() * weight.element_size() for weight in weights)
        return Sizes(sum(weight.numel() for weight in weights if weight.requires_grad), size)

    def _padded(self, tokens: Tokens) -> Tensor:
        """Return the tokens padded with <eos> to whole blocks, on the network's device."""
        whole = np.pad(tokens, (0, -len(tokens) % self.network.output.block), constant_values=EOS)
        return as_tensor(whole, self.network)

    def _features(self, tokens: Tensor) -> Iterator[Tensor]:
        """Yield the features of each block of tokens, (block, F), without dropout."""
        self.network.eval()
        state, windows = None, contexts(tokens, self.network.context)
        for inputs in torch.split(windows, self.network.output.block):
            features, state = self.network(inputs, state)
            yield features
