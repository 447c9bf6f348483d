"""Measures gradients in recurrent networks: how far back they reach, and their norms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lmgrid.spec import LanguageModel, Reading, State, Tokens
from lmgrid_rnn.network import RecurrentNetwork
from lmgrid_torch.model import NeuralModel
from lmgrid_torch.network import contexts
from lmgrid_torch.training.trainer import as_tensor

PLACES = 32  # of a text over which norms are averaged
NORMS = {False: "gradient_norm", True: "updated_gradient_norm"}  # names, by whether updated
NONE = torch.empty(0, dtype=torch.float64)
WARM = 20  # words read before the first state whose gradient is measured


class GradientReporter:
    """An ``lmgrid.spec.Reporter``, and Stateful; ``GradientsPart`` describes its readings.

    Its state is the norms since the last point.
    """

    def __init__(self, lags: int) -> None:
        self.lags = lags
        # Norms of the latest steps, on their device, and of the steps before, (n,), on the CPU
        self._latest: dict[str, list[Tensor]] = {name: [] for name in NORMS.values()}
        self._norms = dict.fromkeys(NORMS.values(), NONE)

    def gradients(self, module: nn.Module, *, updated: bool) -> None:
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        self._latest[NORMS[updated]].append(nn.utils.get_total_norm(gradients))

    def state(self) -> State:
        return State({name: self._gather(name).numpy().copy() for name in self._norms}, {})

    def load_state(self, state: State) -> None:
        for name in self._norms:
            self._latest[name].clear()
            self._norms[name] = torch.tensor(state.arrays[name])

    def readings(self, model: LanguageModel, tokens: Tokens) -> Iterator[Reading]:
        yield from self._lengths()
        network = recurrent(model)
        yield from spectral_radii(network)
        yield from reaches(network, as_tensor(tokens, network), self.lags)

    def _lengths(self) -> Iterator[Reading]:
        """Yield the mean and maximum of the finite norms of all steps since the last call.

        A step along a gradient that is not finite is undone, which is the event ``rollback``.
        """
        for name in self._norms:
            if len(norms := self._gather(name)):
                norms = norms[norms.isfinite()]
                yield Reading(f"{name}.mean", finite(norms.mean()))
                yield Reading(f"{name}.max", finite(norms.max()) if len(norms) else None)
                self._norms[name] = NONE

    def _gather(self, name: str) -> Tensor:
        """Return all norms of this name since the last point, (n,), in double on the CPU."""
        if latest := self._latest[name]:
            norms = torch.stack(latest).double().cpu()
            self._norms[name] = torch.cat((self._norms[name], norms))
            latest.clear()
        return self._norms[name]


def recurrent(model: LanguageModel) -> RecurrentNetwork:
    if isinstance(model, NeuralModel) and isinstance(model.network, RecurrentNetwork):
        return model.network
    raise ValueError(
        f"the reporter gradients reads the model rnn, not {type(model).__name__}; "
        "leave it out of this model's reporters"
    )


def finite(value: Tensor) -> float | None:
    return float(value) if math.isfinite(value) else None


@torch.no_grad()
def spectral_radii(network: RecurrentNetwork) -> Iterator[Reading]:
    """Yield the largest |eigenvalue| of each layer's W_h, for each of its gates."""
    for number, layer in enumerate(network.layers, 1):
        weights = layer.recurrent_weight.double().cpu()  # (G, H, H)
        for gate, weight in enumerate(weights, 1):
            whole = bool(weight.isfinite().all())
            radius = finite(torch.linalg.eigvals(weight).abs().max()) if whole else None
            at = gate if len(weights) > 1 else None
            yield Reading(f"layer{number}.spectral_radius", radius, at)


@dataclass(frozen=True)
class Trail:
    """One kind of state at each time step, in order; the last has the lag ``first``."""

    name: str
    first: int
    states: list[Tensor]

    def back(self, lags: int) -> list[Tensor]:
        """Return the states of lag ``first`` … ``lags``."""
        return self.states[::-1][: max(0, lags + 1 - self.first)]


def reaches(network: RecurrentNetwork, tokens: Tensor, lags: int) -> Iterator[Reading]:
    """Yield the mean norms of ∂J(t)/∂h(t-ℓ), and of ∂J(t)/∂c(t-ℓ) of an LSTM, by ℓ."""
    with scoring(network), torch.enable_grad():
        inputs, targets = pieces(tokens, WARM + lags + 1)
        features, trails = unroll(network, inputs)
        loss = -network.output.score(features, targets).sum()  # each place has its own term
        asked = [state for trail in trails for state in trail.back(lags)]
        slopes = iter(torch.autograd.grad(loss, asked))
    for trail in trails:
        for lag in range(trail.first, trail.first + len(trail.back(lags))):
            slope = next(slopes).cpu().double()  # small squares underflow in single
            yield Reading(trail.name, finite(slope.norm(dim=-1).mean()), lag)


@contextmanager
def scoring(network: nn.Module) -> Iterator[None]:
    """Switch the network to evaluation, so that dropout is off and draws no random numbers."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


def pieces(tokens: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Return words (T, B) from places spread over a text, and the word after each, (B,)."""
    length = min(length, len(tokens))
    last = len(tokens) - length  # largest index where a piece may begin
    count = min(PLACES, last + 1)
    starts = torch.arange(count, device=tokens.device) * last // max(count - 1, 1)
    rows = starts + torch.arange(length, device=tokens.device)[:, None]  # (T, B)
    return contexts(tokens, 1)[rows, 0], tokens[rows[-1]]


def unroll(network: RecurrentNetwork, inputs: Tensor) -> tuple[Tensor, list[Trail]]:
    """Return the features after words (T, B), and the states at each step that lead to them.

    A hook keeps h(t), (1, B, H), where a layer passes it to its normalisation: the input of the
    next step and the input of the layer above are both computed from it. c(t), (B, H), is kept
    as it is passed to the next step, so the last c(t) has no gradient of its own.
    """
    seen: list[list[Tensor]] = [[] for _ in network.layers]
    with torch.no_grad():
        _, known = network(inputs[:-1], None)
    others = known[len(network.layers) :]  # what a network carries besides the states of its layers
    handed, state = [], None
    with ExitStack() as stack:
        for layer, states in zip(network.layers, seen, strict=True):
            hook = layer.norm.register_forward_pre_hook(keeping(states))
            stack.callback(hook.remove)
        for words in torch.split(inputs[:-1], 1):
            _, state = network.states(words, state)
            handed.append(state)
        features, _ = network(inputs[-1:], (*handed[-1], *others))
    trails = []
    for i, states in enumerate(seen):
        trails.append(Trail(f"layer{i + 1}.state_gradient", 0, states))
        cells = [cell for step in handed for cell in step[i][1:]]  # only an LSTM has c
        trails.append(Trail(f"layer{i + 1}.cell_gradient", 1, cells))
    return features, trails


def keeping(states: list[Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    """Return a hook that appends the first input of a module to a list."""

    def keep(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        states.append(given[0])

    return keep
