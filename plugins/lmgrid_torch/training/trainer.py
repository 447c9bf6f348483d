"""Where a training stands: its place in the data, its schedule, and the way back and on."""

from __future__ import annotations

import math
from collections.abc import Iterator
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
    Tokens,
    derive_seed,
)
from lmgrid_torch.network import Batch, Network
from lmgrid_torch.regularizers.site import sites
from lmgrid_torch.training.computation import Computation, data_loss
from lmgrid_torch.training.snapshot import (
    Arrays,
    moved,
    optimizer_state,
    pack,
    restore_optimizer,
    unpack,
)

ROLLBACKS = 5  # how often a training may go back and halve its learning rate


@dataclass
class Position:
    """How far a training has come."""

    epoch: int = 0
    batch: int = 0  # how many of this epoch's batches are done
    tokens: int = 0  # predicted, over all epochs
    rollbacks: int = 0
    steps: int = 0  # of the optimizer, those that were taken back included
    valid: list[float] = field(default_factory=list)  # the finite validation losses, in order


class Trainer:
    """One training of a network, made ready: the loop walks it step by step."""

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
        self.place = Position()
        self.carried: Any = None  # the network's state after the batches that are done
        if recipe.resume is not None:
            self._restore(recipe.resume)
        self._good = self.state()

    def steps(self) -> Iterator[tuple[Batch, ...]]:
        """Yield the batches of each step, epoch after epoch, from where training stands."""
        while True:
            seed = derive_seed(self.recipe.seed, "order", str(self.place.epoch))
            batches = self.network.epoch(self.text, torch.Generator().manual_seed(seed))
            ahead = islice(batches, self.place.batch, None)
            while step := tuple(islice(ahead, self.computation.accumulate)):
                yield step
            if self.place.batch:
                raise ValueError("an epoch of this network does not predict every token once")

    def begin_step(self) -> float:
        """Drop old gradients, set what the schedule asks, and return the learning rate."""
        settings = required(self.recipe.optimizer).settings(self._moment())
        rate = settings["lr"] * 0.5**self.place.rollbacks
        for group in self.optimizer.param_groups:
            group.update(settings, lr=rate)
        self.optimizer.zero_grad()
        return rate

    def end_step(self, batches: tuple[Batch, ...]) -> bool:
        """Step, and move on; return whether an interval or an epoch ended."""
        self.optimizer.step()
        place, interval = self.place, self.recipe.point_interval
        place.steps += 1
        before = place.tokens
        place.tokens += sum(batch.tokens for batch in batches)
        place.batch += len(batches)
        ended = place.tokens == (place.epoch + 1) * len(self.text)
        if ended:
            place.epoch, place.batch, self.carried = place.epoch + 1, 0, None
        return ended or place.tokens // interval > before // interval

    @torch.no_grad()
    def read_all(self, losses: Tensor) -> bool:
        """Return whether losses and weights are finite; what is not has come into a sum.

        A gradient that is not finite leaves a weight that is not, and that never heals.
        """
        sums = [weight.sum() for weight in self.network.parameters()]
        return bool(torch.stack((losses, *sums)).sum().isfinite())

    def rest(self) -> None:
        """Put in place what scores."""
        self.network.eval()
        switch(self.optimizer, "eval")

    def resume(self, answer: float | None) -> None:
        """Put in place what trains. A finite validation loss makes this a place to go back to."""
        self.network.train()
        switch(self.optimizer, "train")
        if answer is not None and math.isfinite(answer):
            self.place.valid.append(answer)
            self._good = self.state()

    def roll_back(self) -> None:
        """Go back to the last good place, at half the learning rate; Diverged at the end."""
        tokens, rollbacks = self.place.tokens, self.place.rollbacks + 1
        if rollbacks > ROLLBACKS:
            raise Diverged(
                f"the loss or a weight is not finite at token {tokens}, after the learning rate "
                f"was halved {ROLLBACKS} times; take a smaller lr"
            )
        steps = self.place.steps
        self._restore(self._good)
        self.place.rollbacks, self.place.steps = rollbacks, steps

    def state(self) -> State:
        """Return copies of all that the next step depends on."""
        scoring = not self.network.training
        if scoring:
            switch(self.optimizer, "train")
        arrays: Arrays = {}
        values = {name: pack(part, name, arrays) for name, part in self._parts().items()}
        if scoring:
            switch(self.optimizer, "eval")
        return State(arrays, {"place": asdict(self.place), **values})

    def _parts(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimizer": optimizer_state(self.optimizer),
            "carried": self.carried,
            "draws": [draw.get_state() for draw in self._draws()],
        }

    def _restore(self, state: State) -> None:
        place = state.values["place"]
        self.place = Position(**{**place, "valid": list(place["valid"])})
        kept = {name: unpack(state.values[name], state.arrays) for name in self._parts()}
        self.network.load_state_dict(kept["network"])
        restore_optimizer(self.optimizer, kept["optimizer"])
        self.carried = moved(kept["carried"], self.network.device)
        for draw, drawn in zip(self._draws(), kept["draws"], strict=True):
            draw.set_state(drawn)

    def _draws(self) -> list[torch.Generator]:
        """Return what is drawn from in training: every ``draw`` of a module or regularizer."""
        owners = (*self.network.modules(), *self.recipe.regularizers)
        draws = (getattr(owner, "draw", None) for owner in owners)
        return [draw for draw in draws if isinstance(draw, torch.Generator)]

    def _moment(self) -> Moment:
        budget, tokens = self.recipe.budget, self.place.tokens
        limit = math.inf if budget is None else budget.limit(len(self.text))
        share = None if limit == math.inf else tokens / limit
        return Moment(tokens, tokens / len(self.text), share, tuple(self.place.valid))


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


def switch(optimizer: torch.optim.Optimizer, mode: str) -> None:
    """Call ``eval`` or ``train`` of an optimizer that scores with other weights than it trains."""
    if change := getattr(optimizer, mode, None):
        change()
