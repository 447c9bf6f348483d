"""The training loop, on one screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import torch
from torch import Tensor

from lmgrid.spec import Optimizer, Progress, Recipe, Regularizer, Tokens, derive_seed
from lmgrid_torch.network import Network
from lmgrid_torch.site import sites


def descend(
    network: Network, train: Tokens, recipe: Recipe
) -> Generator[Progress, float | None, None]:
    """Lower the loss on ``train``, epoch after epoch, until the caller closes the generator.

    Yields at the first step at or past each multiple of ``recipe.point_interval`` tokens and at
    the end of each epoch, with the network ready to score.
    """
    text = as_tensor(train, network)
    if not len(text):
        raise ValueError("the train split is empty: there is nothing to learn from")
    descent = Descent(network, required(recipe.optimizer))
    tally = Tally()
    prepare(network, recipe.regularizers)
    for epoch in count():
        order = torch.Generator().manual_seed(derive_seed(recipe.seed, "order", str(epoch)))
        state = None
        for batch in network.epoch(text, order):
            features, state = network(batch.inputs, state)
            loss = network.output.loss(features, batch.targets)
            penalty = sum(regularizer.loss(network) for regularizer in recipe.regularizers)
            rate = descent.backward(loss + penalty, tally.seen / len(text))
            for regularizer in recipe.regularizers:
                acted = regularizer.update(network, rate)
                tally.events[type(regularizer).__name__.lower()] += acted
            descent.optimizer.step()
            before = tally.seen
            tally.add(batch.tokens, loss, penalty)
            crossed = tally.seen // recipe.point_interval > before // recipe.point_interval
            if crossed or tally.seen == (epoch + 1) * len(text):
                network.eval()
                yield tally.report()
                network.train()


def as_tensor(tokens: Tokens, network: Network) -> Tensor:
    """Return tokens as ids on the network's device, (n,)."""
    return torch.from_numpy(np.array(tokens, dtype=np.int64)).to(network.device)


def prepare(network: Network, regularizers: tuple[Regularizer, ...]) -> None:
    """Let regularizers act at the network's sites, and there nobody else."""
    for site in sites(network):
        site.actions.clear()
    for regularizer in regularizers:
        regularizer.layers(network)
    network.train()


def required(optimizer: Optimizer | None) -> Optimizer:
    if optimizer is None:
        raise ValueError("a neural model needs an optimizer; add optimizers = ['adam']")
    return optimizer


class Descent:
    """A torch optimizer whose learning rate follows its schedule."""

    def __init__(self, network: Network, optimizer: Optimizer) -> None:
        self.factor = optimizer.factor
        self.optimizer = optimizer(list(network.parameters()))
        self.base = [float(group["lr"]) for group in self.optimizer.param_groups]

    def backward(self, loss: Tensor, epochs: float) -> float:
        """Compute fresh gradients, set this step's learning rate, and return it."""
        factor = self.factor(epochs)
        for group, base in zip(self.optimizer.param_groups, self.base, strict=True):
            group["lr"] = base * factor
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        return self.base[0] * factor


@dataclass
class Tally:
    """What happened since the last yield. Losses stay on their device until they are asked for."""

    seen: int = 0  # tokens, over all epochs
    tokens: list[int] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    penalties: list[Tensor | float] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)

    def add(self, tokens: int, loss: Tensor, penalty: Tensor | float) -> None:
        self.seen += tokens
        self.tokens.append(tokens)
        self.losses.append(loss.detach())
        self.penalties.append(penalty.detach() if isinstance(penalty, Tensor) else penalty)

    def report(self) -> Progress:
        """Return means and counts since the last report, and begin anew."""
        losses = torch.stack(self.losses).cpu().double().numpy()
        nats = float(np.average(losses, weights=self.tokens))
        penalty = float(np.mean([float(value) for value in self.penalties]))
        events = tuple((name, times) for name, times in self.events.items() if times)
        for kept in (self.tokens, self.losses, self.penalties, self.events):
            kept.clear()
        return Progress(self.seen, nats, penalty, events=events)
