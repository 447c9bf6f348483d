"""A training of a network: its steps, its position in the text, rollback and resumption."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmgrid.spec import (
    Diverged,
    Moment,
    Optimizer,
    Recipe,
    Regularizer,
    State,
    Stateful,
    Tokens,
    derive_seed,
)
from lmgrid_torch.network import Batch, Network
from lmgrid_torch.regularizers.site import sites
from lmgrid_torch.training.computation import Computation, data_loss
from lmgrid_torch.training.snapshot import (
    moved,
    optimizer_state,
    packed,
    restore_optimizer,
    unpacked,
)

ROLLBACKS = 5  # how often training may roll back and halve its learning rate


@dataclass
class Position:
    """How far training is: the position in the text, and what the schedule depends on."""

    epoch: int = 0
    batch: int = 0  # completed batches of this epoch
    tokens: int = 0  # training tokens predicted, over all epochs; fewer after a rollback
    rollbacks: int = 0
    steps: int = 0  # of the optimizer, including those undone by rollbacks
    valid: list[float] = field(default_factory=list)  # the finite validation losses, in order


class Trainer:
    """Trains one network: prepares it, takes steps, rolls back, and saves and restores its state.

    The loop in ``lmgrid_torch.training.loop`` calls its methods in turn. Raises ValueError if the
    text is empty, the recipe has no optimizer, or the device does not support the precision.
    """

    def __init__(
        self, network: Network, train: Tokens, recipe: Recipe, computation: Computation
    ) -> None:
        self.network, self.recipe, self.computation = network, recipe, computation
        self.text = as_tensor(train, network)
        if not len(self.text):
            raise ValueError("the train split is empty: there is nothing to learn from")
        computation.check(network.device)
        prepare(network, recipe.regularizers)
        self.optimizer = required(recipe.optimizer)(list(network.parameters()))
        self.loss = torch.compile(data_loss) if computation.compile else data_loss
        self.position = Position()
        self.carried: Any = None  # the network's state after the latest batch
        if recipe.resume is not None:
            self._restore(recipe.resume)
            load_states(recipe.reporters, unpacked(recipe.resume, "reporters"))
        self._good = self.state()

    def steps(self) -> Iterator[tuple[Batch, ...]]:
        """Yield the batches of each step, epoch after epoch, from the current position on."""
        while True:
            seed = derive_seed(self.recipe.seed, "order", str(self.position.epoch))
            batches = self.network.epoch(self.text, torch.Generator().manual_seed(seed))
            ahead = islice(batches, self.position.batch, None)
            while step := tuple(islice(ahead, self.computation.accumulate)):
                yield step
            if self.position.batch:
                raise ValueError("an epoch of this network does not predict every token once")

    def begin_step(self) -> float:
        """Clear the gradients, apply the schedule's settings, and return the learning rate."""
        settings = required(self.recipe.optimizer).settings(self._moment())
        rate = settings["lr"] * 0.5**self.position.rollbacks
        for group in self.optimizer.param_groups:
            group.update(settings, lr=rate)
        self.optimizer.zero_grad()
        return rate

    def end_step(self, batches: tuple[Batch, ...]) -> bool:
        """Take the optimizer's step and advance; return whether an interval or an epoch ended."""
        self.optimizer.step()
        position, interval = self.position, self.recipe.point_interval
        position.steps += 1
        before = position.tokens
        position.tokens += sum(batch.tokens for batch in batches)
        position.batch += len(batches)
        ended = position.tokens == (position.epoch + 1) * len(self.text)
        if ended:
            position.epoch, position.batch, self.carried = position.epoch + 1, 0, None
        return ended or position.tokens // interval > before // interval

    @torch.no_grad()
    def all_finite(self, losses: Tensor) -> bool:
        """Return whether ``losses``, the sum of the losses, (), and all weights are finite.

        This covers gradients too: a gradient that is not finite makes a weight not finite, and the
        weight remains so.
        """
        sums = [weight.sum() for weight in self.network.parameters()]
        return bool(torch.stack((losses, *sums)).sum().isfinite())

    def set_for_scoring(self) -> None:
        """Set network and optimizer for scoring."""
        self.network.eval()
        switch(self.optimizer, "eval")

    def set_for_training(self, answer: float | None) -> None:
        """Set network and optimizer for training.

        ``answer`` is the validation loss in nats per token, None where it was not computed.

        After a finite validation loss, rollbacks return to this point.
        """
        self.network.train()
        switch(self.optimizer, "train")
        if answer is not None and math.isfinite(answer):
            self.position.valid.append(answer)
            self._good = self.state()

    def roll_back(self) -> None:
        """Return to the last point with a finite validation loss, or to the start; halve the rate.

        Reporters keep their state, since they report the undone steps too. Raises Diverged after
        ``ROLLBACKS`` times.
        """
        tokens, rollbacks = self.position.tokens, self.position.rollbacks + 1
        if rollbacks > ROLLBACKS:
            raise Diverged(
                f"the loss or a weight is not finite at token {tokens}, after the learning rate "
                f"was halved {ROLLBACKS} times; use a smaller lr"
            )
        steps = self.position.steps
        self._restore(self._good)
        self.position.rollbacks, self.position.steps = rollbacks, steps

    def state(self) -> State:
        """Return copies of everything that the next step and the reporters depend on."""
        scoring = not self.network.training
        if scoring:
            switch(self.optimizer, "train")
        state = packed(
            {
                "position": asdict(self.position),
                "network": self.network.state_dict(),
                "optimizer": optimizer_state(self.optimizer),
                "carried": self.carried,
                "modules": [module.state() for module in stateful(self.network.modules())],
                "regularizers": [part.state() for part in stateful(self.recipe.regularizers)],
                "reporters": [reporter.state() for reporter in stateful(self.recipe.reporters)],
            }
        )
        if scoring:
            switch(self.optimizer, "eval")
        return state

    def _restore(self, state: State) -> None:
        """Restore everything that the next step depends on; reporters keep their state."""
        self.position = Position(**unpacked(state, "position"))
        self.network.load_state_dict(unpacked(state, "network"))
        restore_optimizer(self.optimizer, unpacked(state, "optimizer"))
        self.carried = moved(unpacked(state, "carried"), self.network.device)
        load_states(self.network.modules(), unpacked(state, "modules"))
        load_states(self.recipe.regularizers, unpacked(state, "regularizers"))

    def _moment(self) -> Moment:
        """Return the progress of training that the schedule depends on."""
        budget, tokens = self.recipe.budget, self.position.tokens
        limit = math.inf if budget is None else budget.limit(len(self.text))
        share = None if limit == math.inf else tokens / limit
        return Moment(tokens, tokens / len(self.text), share, tuple(self.position.valid))


def as_tensor(tokens: Tokens, network: Network) -> Tensor:
    """Return tokens as ids on the network's device, (n,)."""
    return torch.from_numpy(np.array(tokens, dtype=np.int64)).to(network.device)


def prepare(network: Network, regularizers: tuple[Regularizer, ...]) -> None:
    """Remove all actions from the network's sites, and add those of these regularizers."""
    for site in sites(network):
        site.actions.clear()
    for regularizer in regularizers:
        regularizer.layers(network)
    network.train()


def stateful(objects: Iterable[object]) -> list[Stateful]:
    """Return the objects that have a state, in their order."""
    return [one for one in objects if isinstance(one, Stateful)]


def load_states(objects: Iterable[object], states: Iterable[State]) -> None:
    """Restore the state of each object that has one; ``states`` are in the same order."""
    for one, state in zip(stateful(objects), states, strict=True):
        one.load_state(state)


def required(optimizer: Optimizer | None) -> Optimizer:
    """Return the optimizer; ValueError if there is none."""
    if optimizer is None:
        raise ValueError("a neural model needs an optimizer; add optimizers = ['adam']")
    return optimizer


def switch(optimizer: torch.optim.Optimizer, mode: str) -> None:
    """Call ``optimizer.eval`` or ``.train``, if it scores with other weights than it trains."""
    if change := getattr(optimizer, mode, None):
        change()
